"""What Redis itself can do, through redis-py and nothing else: the limits that we stand beside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from recsys_cli.domain import EventType, IndexSpec, ProductEvent
from tests.benchmarks.workbench import Stock, Workbench

STREAM = "product:updates"
INDEX = "product:vectors"
EVENTS_A_PIPELINE = 1000
PIPELINE_LENGTHS = (50, 200, 1000)
TRIED_WITH = 3_000


def payloads(stock: Stock) -> list[dict[str, str]]:
    """Return the four fields of each product's event, as our import publishes them."""
    return [
        ProductEvent(
            type=EventType.CREATE, product_id=product.id, fields=product.to_fields()
        ).as_text()
        for product in stock.products
    ]


def send(bench: Workbench, events: Sequence[dict[str, str]]) -> None:
    with bench.client.pipeline(transaction=False) as pipeline:
        for at in range(0, len(events), EVENTS_A_PIPELINE):
            for event in events[at : at + EVENTS_A_PIPELINE]:
                pipeline.xadd(STREAM, event)
            pipeline.execute()


def create_index(bench: Workbench) -> None:
    """Create the index just as recsys does."""
    with bench.backends(bench.on_redis) as opened:
        opened.get_vector_store().create_index(IndexSpec())


def hashes(stock: Stock) -> list[tuple[str, dict[str, Any]]]:
    """Return key and hash of each product that has words: the vector and what the index reads."""
    return [
        (
            f"product:embedding:{product.id}",
            {"vector": vector.tobytes(), "category": product.category}
            | ({} if product.price is None else {"price": product.price}),
        )
        for product, vector in zip(stock.products, stock.vectors, strict=True)
        if vector.any()
    ]


def load(bench: Workbench, entries: Sequence[tuple[str, dict[str, Any]]], length: int) -> None:
    """Write the hashes, ``length`` in a pipeline."""
    with bench.client.pipeline(transaction=False) as pipeline:
        for at in range(0, len(entries), length):
            for key, fields in entries[at : at + length]:
                pipeline.hset(key, mapping=fields)
            pipeline.execute()


def loading_seconds(
    bench: Workbench, entries: Sequence[tuple[str, dict[str, Any]]], length: int
) -> float:
    """Return how long it takes to load the hashes into an empty index like ours."""
    bench.flush()
    create_index(bench)
    started = time.perf_counter()
    load(bench, entries, length)
    return time.perf_counter() - started


def fastest_length(bench: Workbench, entries: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """Return how long pipelines are best: a limit shall be a strong one."""
    sample = entries[:TRIED_WITH]
    seconds = {
        length: min(loading_seconds(bench, sample, length) for _ in range(2))
        for length in PIPELINE_LENGTHS
    }
    return min(seconds, key=lambda length: seconds[length])
