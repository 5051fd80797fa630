"""All stages, or those named, in one run and one table:

    python -m tests.benchmarks [stage ...] [--sizes 1000,10000,100000] [--rounds 3]

The goals are ratios to a limit and a peer in the same run: absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from tests.benchmarks import (
    consuming,
    each_backend,
    embedded_consuming,
    embedded_similar,
    embedding,
    import_unchanged,
    importing,
    memory,
    redis_bytes,
    searchable,
    similar_command,
    similar_warm,
    starting,
    trips,
)
from tests.benchmarks.comparison import Row, markdown, show
from tests.benchmarks.workbench import Effort, Workbench
from tests.conftest import REAL_DATA
from tests.servers import running_redis


class Stage(NamedTuple):
    """``has_sizes``: it is measured at each size, else once."""

    measure: Callable[[Workbench, int], list[Row]]
    has_sizes: bool = True


STAGES = {
    "trips": Stage(trips.measure, has_sizes=False),
    "import": Stage(importing.measure),
    "consume": Stage(consuming.measure),
    "embedding": Stage(embedding.measure),
    "import-unchanged": Stage(import_unchanged.measure),
    "similar": Stage(similar_warm.measure),
    "similar-command": Stage(similar_command.measure),
    "searchable": Stage(searchable.measure),
    "help": Stage(starting.measure, has_sizes=False),
    "embedded-consume": Stage(embedded_consuming.measure),
    "embedded-similar": Stage(embedded_similar.measure),
    "redis-bytes": Stage(redis_bytes.measure),
    "memory": Stage(memory.measure, has_sizes=False),
    "backends": Stage(each_backend.measure),
}


def measured(
    names: Sequence[str], effort: Effort, say: Callable[[str], None] = lambda _: None
) -> Iterator[Row]:
    """Yield the rows of the stages, size by size."""
    with running_redis() as server, tempfile.TemporaryDirectory(prefix="recsys-bench-") as folder:
        bench = Workbench(server, Path(folder), effort)
        # Size by size: a filled shop serves several stages.
        for size in effort.sizes:
            for name in names:
                if STAGES[name].has_sizes or size == effort.sizes[0]:
                    say(f"{name}, {size:,} products")
                    yield from STAGES[name].measure(bench, size)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for on the command line, or ``given``; exits where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("stages", nargs="*", metavar="stage", help=", ".join(STAGES))
    parser.add_argument("--sizes", type=_sizes, default=Effort.sizes, metavar="N,N,...")
    parser.add_argument("--rounds", type=int, default=Effort.rounds)
    parser.add_argument("--memory-rows", type=int, default=Effort.memory_rows)
    parser.add_argument("--memory-rows-on-redis", type=int, default=Effort.memory_rows_on_redis)
    parser.add_argument("--markdown", action="store_true", help="the short table of the README")
    asked = parser.parse_args(given)
    if unknown := set(asked.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
    return asked


def main() -> None:
    given = arguments()
    if not REAL_DATA.is_dir():
        sys.exit(f"the real catalogues are not beside this checkout: {REAL_DATA}")
    effort = Effort(
        sizes=given.sizes,
        rounds=given.rounds,
        memory_rows=given.memory_rows,
        memory_rows_on_redis=given.memory_rows_on_redis,
    )
    progress = Console(stderr=True)
    names = given.stages or list(STAGES)
    rows: list[Row] = []
    try:
        rows.extend(measured(names, effort, lambda said: progress.print(said, style="dim")))
    except KeyboardInterrupt:
        progress.print("stopped: this is what was measured until then")
    if given.markdown:
        print(*markdown(rows), sep="\n")
        return
    # Piped, a table shall not be cut to 80 columns.
    show(_by_figure(rows), Console() if sys.stdout.isatty() else Console(width=200))


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(size) for size in text.split(",")))


def _by_figure(rows: Sequence[Row]) -> list[Row]:
    """Put the sizes of one figure together."""
    order = list(dict.fromkeys(row.stage for row in rows))
    return sorted(rows, key=lambda row: order.index(row.stage))


if __name__ == "__main__":
    main()
