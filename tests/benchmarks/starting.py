"""``recsys --help``, as the shell starts it, beside a Python that does nothing."""

from __future__ import annotations

import sys

from tests.benchmarks.comparison import (
    MS,
    Goal,
    Row,
    at_most_above_limit,
    interleaved,
    medians,
)
from tests.benchmarks.workbench import SCRIPT, Workbench

HEAVY = {"pandas", "numpy", "sklearn", "redis"}


def measure(bench: Workbench, _: int) -> list[Row]:
    ways = {
        "ours": lambda: bench.run(SCRIPT, "--help", on={}).seconds * 1000,
        "limit": lambda: bench.run(sys.executable, "-c", "pass", on={}).seconds * 1000,
    }
    took = medians(interleaved(ways, bench.effort.runs))
    heavy = _loaded(bench) & HEAVY
    return [
        Row(
            stage="--help",
            size=0,
            unit=MS,
            ours=took["ours"],
            limit=took["limit"],
            goals=(
                at_most_above_limit(110, MS),
                Goal(f"without {', '.join(sorted(HEAVY))}", lambda _: not heavy),
            ),
            notes="recsys --help; python -c pass"
            + (f"; loaded {', '.join(sorted(heavy))}" if heavy else ""),
        )
    ]


def _loaded(bench: Workbench) -> set[str]:
    """Return the packages that the command imports, as the interpreter itself reports them."""
    said = bench.run(sys.executable, "-X", "importtime", SCRIPT, "--help", on={}).err
    return {line.rpartition("|")[2].strip() for line in said.splitlines() if "import time:" in line}
