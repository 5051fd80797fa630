"""Peak memory of the importer and the consumer as the feed grows: a few rows, and very many.

The "limit" is the same command with the few. The consumer is the first one ever, so it fits the
model as well. What it maps of the embedded file counts, though the system takes it back when it
needs it; so there is a figure without.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.comparison import MB, Row, at_most
from tests.benchmarks.workbench import BATCH_SIZE, Workbench

PEAK = Path(__file__).with_name("peak.py")


class Peak(NamedTuple):
    """In megabytes. ``own``: without the pages of files that the process maps."""

    all: float
    own: float


def measure(bench: Workbench, _: int) -> list[Row]:
    effort = bench.effort
    few, many = effort.memory_rows_before, effort.memory_rows
    many_on_redis = effort.memory_rows_on_redis
    importer = [_importer(bench, rows) for rows in (few, many)]
    embedded = [_embedded(bench, rows) for rows in (few, many)]
    consumer = [_consumer(bench, rows) for rows in (few, many_on_redis)]
    return [
        _row("importer, Redis", many, *(peak.all for peak in importer)),
        _row("consumer, Redis", many_on_redis, *(peak.all for peak in consumer)),
        _row("consumer, embedded", many, *(peak.all for peak in embedded)),
        _row("consumer, embedded, without mapped files", many, *(peak.own for peak in embedded)),
    ]


def _row(who: str, rows: int, few_mb: float, many_mb: float) -> Row:
    return Row(
        stage=f"memory: {who}",
        size=rows,
        unit=MB,
        ours=many_mb,
        limit=few_mb,
        goals=(at_most(1.2),),
        notes="peak with so many rows; with few",
    )


def _importer(bench: Workbench, rows: int) -> Peak:
    bench.flush()
    return _peak(bench, "import", bench.stock(rows).feed, on=bench.on_redis)


def _consumer(bench: Workbench, rows: int) -> Peak:
    bench.flush()
    return _peak_of_consumer(bench, rows, bench.on_redis)


def _embedded(bench: Workbench, rows: int) -> Peak:
    with bench.home() as home:
        return _peak_of_consumer(bench, rows, home)


def _peak_of_consumer(bench: Workbench, rows: int, on: Mapping[str, str]) -> Peak:
    bench.fill_stream(bench.stock(rows), on=on)
    return _peak(bench, "consume", "--drain", "--batch-size", BATCH_SIZE, on=on)


def _peak(bench: Workbench, *arguments: object, on: Mapping[str, str]) -> Peak:
    file = bench.folder / "peak"
    command = (sys.executable, "-m", "recsys_cli", *arguments)
    bench.run(sys.executable, "-I", "-S", PEAK, file, *command, on=on)
    return Peak(*(int(bytes_) / 1_000_000 for bytes_ in file.read_text().split()))
