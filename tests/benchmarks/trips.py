"""A thousand commands in one trip to Redis: our connection, and the pipeline of redis-py as a peer.

The same XADD both times, and replies as the protocol has them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from recsys_cli.connections.redis import RedisConnection
from tests.benchmarks.bare import EVENTS_A_PIPELINE, STREAM, payloads, send
from tests.benchmarks.comparison import MS, Row, at_most, interleaved, medians
from tests.benchmarks.workbench import Workbench


def measure(bench: Workbench, size: int) -> list[Row]:
    events = payloads(bench.stock(size))[:EVENTS_A_PIPELINE]
    commands = [
        ("XADD", STREAM, "*", *(part for field in event.items() for part in field))
        for event in events
    ]
    bench.flush()
    connection = RedisConnection(bench.server.url)
    ways = {
        "ours": lambda: _ms(lambda: connection.pipeline(commands)),
        "peer": lambda: _ms(lambda: send(bench, events)),
    }
    found = medians(interleaved(ways, max(bench.effort.rounds, bench.effort.runs)))
    connection.close()
    bench.flush()
    return [
        Row(
            stage="a trip",
            size=len(commands),
            unit=MS,
            ours=found["ours"],
            peer=found["peer"],
            goals=(at_most(1, "peer"),),
            notes="so many XADD in one trip; the pipeline of redis-py",
        )
    ]


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)
