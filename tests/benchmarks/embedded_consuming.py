"""``recsys consume --drain --batch-size 200`` on the embedded file, with a model in use.

Limit: ready-made vectors through ``executemany`` into a table of the same file, under the same
pragmas, each batch of the same length in a transaction of its own, until the file is closed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.comparison import PER_SECOND, Row, at_least, interleaved, medians
from tests.benchmarks.workbench import BATCH_SIZE, Stock, Workbench, rate_said


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    waiting = bench.new_home()
    bench.fill_stream(stock, on=waiting)
    bench.offer_model(stock, on=waiting)
    own_clock: list[float] = []

    def ours() -> float:
        with bench.home(like=waiting) as home:
            done = bench.recsys("consume", "--drain", "--batch-size", BATCH_SIZE, on=home)
        own_clock.append(rate_said(done.err))
        return done.seconds

    def limit() -> float:
        with bench.home(like=waiting) as home:
            return _inserting_seconds(stock, home)

    seconds = medians(interleaved({"ours": ours, "limit": limit}, bench.effort.rounds))
    rates = {
        "embedded: consume": size / seconds["ours"],
        "embedded: consume, own clock": medians({"": own_clock})[""],
    }
    return [
        Row(
            stage=stage,
            size=size,
            unit=PER_SECOND,
            ours=rate,
            limit=size / seconds["limit"],
            goals=() if "clock" in stage else (at_least(0.7),),
            notes="the same runs without the interpreter's start"
            if "clock" in stage
            else "one process; inserts of ready-made vectors into the same file",
        )
        for stage, rate in rates.items()
    ]


def _inserting_seconds(stock: Stock, home: Mapping[str, str]) -> float:
    entries = [
        (product.id, vector.tobytes())
        for product, vector in zip(stock.products, stock.vectors, strict=True)
    ]
    started = time.perf_counter()
    path = Path(home["RECSYS_HOME"]) / "recsys.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        assert mode == "wal"
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, vector BLOB NOT NULL)")
        for at in range(0, len(entries), BATCH_SIZE):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO bare VALUES (?, ?)", entries[at : at + BATCH_SIZE])
            connection.execute("COMMIT")
    return time.perf_counter() - started
