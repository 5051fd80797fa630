"""``recsys import``, the whole command from file to stream, into an empty Redis.

Limit: the events as they are on the stream, ready-made, through redis-py: 1000 XADD a pipeline, and
only the sending counts. Peer: pandas and one XADD per row in pipelines, as a process too.
"""

from __future__ import annotations

import time

from tests.benchmarks.bare import STREAM, payloads, send
from tests.benchmarks.comparison import PER_SECOND, Goal, Row, at_least, interleaved, medians
from tests.benchmarks.workbench import Workbench

FAST_LIMIT, FAST_ENOUGH = 100_000, 30_000


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    events = payloads(stock)

    def ours() -> float:
        bench.flush()
        seconds = bench.recsys("import", stock.feed, on=bench.on_redis).seconds
        _check_stream(bench, size)
        return seconds

    def limit() -> float:
        bench.flush()
        started = time.perf_counter()
        send(bench, events)
        return time.perf_counter() - started

    def peer() -> float:
        bench.flush()
        seconds = bench.peer("import_with_pandas.py", stock.feed, bench.server.url).seconds
        _check_stream(bench, size)
        return seconds

    seconds = medians(
        interleaved({"ours": ours, "limit": limit, "peer": peer}, bench.effort.rounds)
    )
    return [
        Row(
            stage="import",
            size=size,
            unit=PER_SECOND,
            ours=size / seconds["ours"],
            limit=size / seconds["limit"],
            peer=size / seconds["peer"],
            goals=(at_least(0.3), _fast_where_redis_is(), at_least(1, "peer")),
            notes="the whole command; bare pipelined XADD of the same events; pandas script",
        )
    ]


def _fast_where_redis_is() -> Goal:
    def met(row: Row) -> bool | None:
        if row.limit is None or row.limit < FAST_LIMIT:
            return None
        return row.ours >= FAST_ENOUGH

    return Goal(f"≥ {FAST_ENOUGH:,}/s if limit ≥ {FAST_LIMIT:,}/s", met)


def _check_stream(bench: Workbench, size: int) -> None:
    found = bench.client.xlen(STREAM)
    if found != size:
        raise AssertionError(f"{found} events on the stream, not {size}")
