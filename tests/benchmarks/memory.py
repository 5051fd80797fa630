"""Peak memory of the importer and the consumer as the feed grows: a few rows, and very many.

The "limit" is the same command with the few. The consumer is the first one ever, so it fits the
model as well.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.comparison import MB, Row, at_most
from tests.benchmarks.workbench import BATCH_SIZE, Workbench

PEAK = Path(__file__).with_name("peak.py")


def measure(bench: Workbench, _: int) -> list[Row]:
    effort = bench.effort
    few, many, many_on_redis = (
        effort.memory_rows_before,
        effort.memory_rows,
        effort.memory_rows_on_redis,
    )
    return [
        _row("importer, Redis", many, *(_importer(bench, rows) for rows in (few, many))),
        _row("consumer, embedded", many, *(_embedded(bench, rows) for rows in (few, many))),
        _row(
            "consumer, Redis",
            many_on_redis,
            *(_consumer(bench, rows) for rows in (few, many_on_redis)),
        ),
    ]


def _row(who: str, rows: int, few: float, many: float) -> Row:
    return Row(
        stage=f"memory: {who}",
        size=rows,
        unit=MB,
        ours=many,
        limit=few,
        goals=(at_most(1.2),),
        notes="peak; the peak with few rows",
    )


def _importer(bench: Workbench, rows: int) -> float:
    bench.flush()
    return _peak_mb(bench, "import", bench.stock(rows).feed, on=bench.on_redis)


def _consumer(bench: Workbench, rows: int) -> float:
    bench.flush()
    return _filled(bench, rows, bench.on_redis)


def _embedded(bench: Workbench, rows: int) -> float:
    with bench.home() as home:
        return _filled(bench, rows, home)


def _filled(bench: Workbench, rows: int, on: Mapping[str, str]) -> float:
    bench.fill_stream(bench.stock(rows), on=on)
    return _peak_mb(bench, "consume", "--drain", "--batch-size", BATCH_SIZE, on=on)


def _peak_mb(bench: Workbench, *arguments: object, on: Mapping[str, str]) -> float:
    file = bench.folder / "peak"
    command = (sys.executable, "-m", "recsys_cli", *arguments)
    bench.run(sys.executable, "-I", "-S", PEAK, file, *command, on=on)
    return int(file.read_text()) / 1_000_000
