"""From an event to an answer: one product into an idle pipeline, until the vector store has it.

A consumer runs as a process of its own and has nothing to do. The product is published through the
Python API, and the vector store is asked for it again and again: on Redis, a stored vector is in
the index. The clock runs from before the call that publishes.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping
from unittest import mock

import msgspec

from recsys_cli import api
from tests.benchmarks.comparison import MS, Row, below, percentile
from tests.benchmarks.workbench import Stock, Workbench, environment
from tests.servers import wait_until

POLL_S = 0.0005
START_TIMEOUT_S = 60


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    on_redis = bench.filled_redis(stock)
    found = {"redis": _latencies(bench, stock, on_redis)}
    bench.flush()
    with bench.home(like=bench.filled_home(stock)) as home:
        found["embedded"] = _latencies(bench, stock, home)
    return [
        Row(
            stage=f"event to searchable, {backend}, p{percent}",
            size=size,
            unit=MS,
            ours=percentile(took, percent),
            goals=(below(goal, MS),),
            notes="one product published into an idle pipeline, until the vector store has it",
        )
        for backend, took in found.items()
        for percent, goal in ((50, 20), (99, 100))
    ]


def _latencies(bench: Workbench, stock: Stock, on: Mapping[str, str]) -> list[float]:
    """Return the milliseconds of each event."""
    chance = random.Random(3)
    with _consumer(bench, on), mock.patch.dict(os.environ, environment(on), clear=True):
        try:
            _publish(stock, 0)
            wait_until(lambda: _is_found(0), START_TIMEOUT_S, "the consumer has started")
            took = []
            for number in range(1, bench.effort.events + 1):
                # It shall be waiting again, and at no moment that we choose.
                time.sleep(chance.uniform(0.05, 0.15))
                started = time.perf_counter()
                _publish(stock, number)
                while not _is_found(number):
                    time.sleep(POLL_S)
                took.append((time.perf_counter() - started) * 1000)
            return took
        finally:
            api.close()


@contextlib.contextmanager
def _consumer(bench: Workbench, on: Mapping[str, str]) -> Iterator[None]:
    process = bench.start(sys.executable, "-m", "recsys_cli", "consume", on=on)
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _publish(stock: Stock, number: int) -> None:
    like = stock.products[number % stock.size]
    api.ProductEventProducer().publish_product_created(
        msgspec.structs.replace(like, id=_id(number), name=f"{like.name} lamp")
    )


def _is_found(number: int) -> bool:
    return api.get_vector_store().get_product_embedding(_id(number)) is not None


def _id(number: int) -> str:
    return f"fresh-{number}"
