"""Every backend beside what its bare driver does with everything ready-made.

Up to three figures a backend: events published by the adapter (a thousand at a time), products that
``recsys consume --drain --batch-size 200`` takes to the index by its own clock, with a model in
use, and a query for the neighbors of one product, warm, the median. Limits: the same events put on
the stream; fetched and acknowledged, and the ready-made vectors written, one after the other; the
ten nearest of the ready-made vector.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from recsys_cli.batches import batched
from recsys_cli.domain import EventType, ProductEvent
from recsys_cli.ports import Vector
from tests.benchmarks.comparison import (
    EVENTS_PER_SECOND,
    MS,
    PER_SECOND,
    Row,
    interleaved,
    medians,
    percentile,
)
from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.similar_warm import WARMING, chosen, ours, timed
from tests.benchmarks.workbench import BATCH_SIZE, Stock, Workbench, rate_said

LARGEST = 10_000
"""Of a larger catalogue, most of the time would be the servers' own."""

EVENTS_A_PUBLISH = 1000


def measure(bench: Workbench, size: int) -> list[Row]:
    if size > LARGEST:
        return []
    stock = bench.stock(size)
    rows: list[Row] = []
    for contender in CONTENDERS:
        with contender(bench) as one:
            rows += _rows(bench, stock, one)
    return rows


def _rows(bench: Workbench, stock: Stock, one: Contender) -> list[Row]:
    events = [
        ProductEvent(type=EventType.CREATE, product_id=product.id, fields=product.to_fields())
        for product in stock.products
    ]
    embedded_rows = [row for row, vector in enumerate(stock.vectors) if vector.any()]
    ids = [stock.products[row].id for row in embedded_rows]
    vectors = stock.vectors[embedded_rows]
    metadata: list[Mapping[str, object]] = [
        {"category": stock.products[row].category, "price": stock.products[row].price}
        for row in embedded_rows
    ]
    payloads = [json.dumps(event.as_text()) for event in events]

    def publish() -> float:
        one.empty()
        with bench.backends(one.on) as opened:
            processor = opened.get_event_processor()
            processor.create_group()
            return _seconds(
                lambda: [processor.publish(chunk) for chunk in batched(events, EVENTS_A_PUBLISH)]
            )

    def consume() -> float:
        one.empty()
        bench.fill_stream(stock, on=one.on)
        bench.offer_model(stock, on=one.on)
        done = bench.recsys("consume", "--drain", "--batch-size", BATCH_SIZE, on=one.on)
        return stock.size / rate_said(done.err)

    def bare_publish() -> float:
        one.empty()
        return _seconds(one.publisher(payloads))

    def bare_consume() -> float:
        one.empty()
        one.publisher(payloads)()
        drain, write = one.drainer(), one.writer(ids, vectors, metadata)
        return _seconds(drain) + _seconds(write)

    publishing = {"bare publish": bare_publish, "publish": publish} if one.has_events else {}
    # Last what leaves a shop that can be asked.
    ways = publishing | {"bare consume": bare_consume, "consume": consume}
    seconds = medians(interleaved(ways, bench.effort.rounds))
    rows = []
    if one.has_events:
        rows += [
            _rate(f"on {one.name}: publish", EVENTS_PER_SECOND, stock.size, seconds, "publish")
        ]
    rows += [
        _rate(f"on {one.name}: consume, own clock", PER_SECOND, stock.size, seconds, "consume")
    ]
    if one.has_vectors:
        one.writer(ids, vectors, metadata)()
        rows += [_query(bench, stock, one, dict(zip(ids, vectors, strict=True)))]
    return rows


def _rate(stage: str, unit: str, size: int, seconds: Mapping[str, float], what: str) -> Row:
    return Row(
        stage=stage,
        size=size,
        unit=unit,
        ours=size / seconds[what],
        limit=size / seconds[f"bare {what}"],
        notes="beside the bare driver with everything ready-made",
    )


def _query(bench: Workbench, stock: Stock, one: Contender, vectors: dict[str, Vector]) -> Row:
    bare = one.asker()
    with bench.backends(one.on) as opened:
        ways = {"ours": ours(opened), "limit": lambda product_id: bare(vectors[product_id])}
        took = timed(ways, chosen(stock, bench.effort.queries + WARMING), WARMING)
    return Row(
        stage=f"on {one.name}: query, warm",
        size=stock.size,
        unit=MS,
        ours=percentile(took["ours"], 50),
        limit=percentile(took["limit"], 50),
        notes="fetching the product's vector too; the ten nearest of a ready-made one",
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
