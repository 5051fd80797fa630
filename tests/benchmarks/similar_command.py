"""``recsys similar`` as a command, on Redis, from the shell's point of view.

Limit: a bare process that imports what it cannot do without: typer, redis and rich.table.
"""

from __future__ import annotations

import sys

from tests.benchmarks.comparison import MS, Row, at_most, interleaved, medians
from tests.benchmarks.similar_warm import chosen
from tests.benchmarks.workbench import SCRIPT, Workbench

BARE = "import typer, redis, rich.table"


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    on = bench.filled_redis(stock)
    asked = iter(chosen(stock, bench.effort.runs))
    ways = {
        "ours": lambda: bench.run(SCRIPT, "similar", next(asked), on=on).seconds * 1000,
        "limit": lambda: bench.run(sys.executable, "-c", BARE, on=on).seconds * 1000,
    }
    took = medians(interleaved(ways, bench.effort.runs))
    return [
        Row(
            stage="similar, command",
            size=size,
            unit=MS,
            ours=took["ours"],
            limit=took["limit"],
            goals=(at_most(1.3),),
            notes=f"the whole command; python -c {BARE!r}",
        )
    ]
