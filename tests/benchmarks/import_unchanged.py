"""``recsys import`` of a feed that is embedded already: all is compared, nothing is published.

Limit: a process that does nothing but read the file with pandas. Beside it, for the record, what
``pandas.read_csv`` takes once pandas is loaded.
"""

from __future__ import annotations

import json
import sys
import time

import pandas as pd

from tests.benchmarks.comparison import MS, Row, at_most, interleaved, medians
from tests.benchmarks.workbench import Workbench

READ = "import sys, pandas; pandas.read_csv(sys.argv[1])"


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    on = bench.filled_redis(stock)

    def ours() -> float:
        done = bench.recsys("import", stock.feed, "--json", on=on)
        if json.loads(done.out)["unchanged"] != size:
            raise AssertionError(f"something was published: {done.out}")
        return done.seconds * 1000

    def process() -> float:
        return bench.run(sys.executable, "-c", READ, stock.feed, on={}).seconds * 1000

    def reading() -> float:
        started = time.perf_counter()
        pd.read_csv(stock.feed)
        return (time.perf_counter() - started) * 1000

    ways = {"ours": ours, "process": process, "reading": reading}
    took = medians(interleaved(ways, bench.effort.rounds))
    return [
        Row(
            stage="import, unchanged",
            size=size,
            unit=MS,
            ours=took["ours"],
            limit=took["process"],
            goals=(at_most(3),),
            notes="the whole command; a process that reads the file by pandas.read_csv",
        ),
        Row(
            stage="import, unchanged, beside read_csv alone",
            size=size,
            unit=MS,
            ours=took["ours"],
            limit=took["reading"],
            notes="the whole command; pandas.read_csv within a process that has pandas",
        ),
    ]
