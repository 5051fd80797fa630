"""``recsys consume --drain --batch-size 200`` on Redis, over a stream that our import has made.

Four figures of ours: one process with a model in use (by the wall clock, and by its own, which
leaves out the start of the interpreter), one that must first fit the model, and two processes at
once. Limit of them all: pipelined HSET of the same ready-made vectors, with category and price,
into the same index through redis-py, in pipelines of whichever length is the fastest here.

Peers: pandas + scikit-learn + ``SearchIndex.load`` of RedisVL, a process, with the words that a
user would begin with, and with sub-words, as we have them: the graph of vectors with a few words
each takes the server half the time. And the consumer of the original design, in this process: read
ten, then embed one, HSET, XACK. From 50 000 products on it is timed over the tenth in the middle,
with ready-made vectors of those before in the index: as the graph grows each product costs more,
and the one in the middle about the average.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from tests.benchmarks.bare import (
    STREAM,
    create_index,
    fastest_length,
    hashes,
    load,
    loading_seconds,
    payloads,
    send,
)
from tests.benchmarks.comparison import PER_SECOND, Row, at_least, interleaved, medians
from tests.benchmarks.workbench import (
    BATCH_SIZE,
    Done,
    Stock,
    Workbench,
    has_redisvl,
    rate_said,
)

GROUP = "product-processors"
GOAL_FROM = 10_000
PART_FROM = 50_000


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    own_clock: list[float] = []
    entries = hashes(stock)
    length = fastest_length(bench, entries)

    def one() -> float:
        _prepare(bench, stock)
        done = _consume(bench)
        own_clock.append(rate_said(done.err))
        _check_index(bench, stock)
        return done.seconds

    def fitting() -> float:
        _prepare(bench, stock, has_model=False)
        seconds = _consume(bench).seconds
        _check_index(bench, stock)
        return seconds

    def two() -> float:
        _prepare(bench, stock)
        seconds = _consume_twice(bench)
        _check_index(bench, stock)
        return seconds

    def limit() -> float:
        return loading_seconds(bench, entries, length)

    ways: dict[str, Callable[[], float]] = {
        "one": one, "limit": limit, "fitting": fitting, "two": two,
        "one by one": lambda: _one_by_one(bench, stock),
    }  # fmt: skip
    if has_redisvl():
        ways["redisvl"] = lambda: _redisvl(bench, stock, "words")
        ways["redisvl subwords"] = lambda: _redisvl(bench, stock, "subwords")
    rate = {
        name: size / seconds
        for name, seconds in medians(interleaved(ways, bench.effort.rounds)).items()
    }
    rate["own clock"] = medians({"": own_clock})[""]
    return _rows(size, rate)


def _rows(size: int, rate: dict[str, float]) -> list[Row]:
    def row(stage: str, ours: str, peer: str, notes: str, *goals: Any) -> Row:
        return Row(
            stage=stage,
            size=size,
            unit=PER_SECOND,
            ours=rate[ours],
            limit=rate["limit"],
            peer=rate.get(peer),
            goals=goals,
            notes=notes,
        )

    counts = size >= GOAL_FROM
    ahead = at_least(1, "peer")
    return [
        row(
            "consume", "one", "redisvl",
            "one process; bare pipelined HSET of ready-made vectors; pandas + scikit-learn + "
            "RedisVL script",
            *([at_least(0.85)] if counts else []), ahead,
        ),
        row(
            "consume, sub-words", "one", "redisvl subwords",
            "the same runs; the same script with sub-words", ahead,
        ),
        row("consume, own clock", "own clock", "", "the same runs without the interpreter's start"),
        row(
            "consume, old design", "one", "one by one",
            "peer: read ten, then embed one, HSET, XACK"
            + (", over the tenth in the middle" if size >= PART_FROM else ""),
            at_least(3, "peer"),
        ),
        row("consume, fits model", "fitting", "redisvl", "the first consume ever", ahead),
        row(
            "consume, two at once", "two", "redisvl", "two processes on one stream",
            *([at_least(0.95)] if counts else []), ahead,
        ),
    ]  # fmt: skip


def _prepare(bench: Workbench, stock: Stock, *, has_model: bool = True) -> None:
    bench.flush()
    bench.fill_stream(stock, on=bench.on_redis)
    if has_model:
        bench.offer_model(stock, on=bench.on_redis)


_COMMAND = (sys.executable, "-m", "recsys_cli", "consume", "--drain", "--batch-size", BATCH_SIZE)


def _consume(bench: Workbench) -> Done:
    return bench.run(*_COMMAND, on=bench.on_redis)


def _consume_twice(bench: Workbench) -> float:
    """Return the time until both have ended."""
    started = time.perf_counter()
    processes = [bench.start(*_COMMAND, on=bench.on_redis) for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    seconds = time.perf_counter() - started
    if any(process.returncode for process in processes):
        raise AssertionError(said)
    return seconds


def _check_index(bench: Workbench, stock: Stock) -> None:
    """Whoever has embedded less than everything was not faster."""
    with bench.backends(bench.on_redis) as opened:
        info = opened.get_vector_store().info()
    wanted = int(np.any(stock.vectors, axis=1).sum())
    if info is None or info.indexed != wanted:
        raise AssertionError(f"the index has {info and info.indexed} products, not {wanted}")


def _redisvl(bench: Workbench, stock: Stock, features: str) -> float:
    bench.flush()
    return bench.peer("embed_with_redisvl.py", stock.feed, bench.server.url, features).seconds


def _one_by_one(bench: Workbench, stock: Stock) -> float:
    """Return the seconds for all products; see above for what is measured of many."""
    timed = slice(0, stock.size)
    if stock.size >= PART_FROM:
        timed = slice(stock.size * 45 // 100, stock.size * 55 // 100)
    events = payloads(stock)[timed]
    texts = [f"{product.name} {product.description}" for product in stock.products]
    vectorizer = TfidfVectorizer(max_features=384).fit(texts)
    bench.flush()
    create_index(bench)
    load(bench, hashes(stock)[: timed.start], BATCH_SIZE)
    bench.client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    send(bench, events)
    started = time.perf_counter()
    _consume_one_by_one(bench, vectorizer)
    return (time.perf_counter() - started) * stock.size / len(events)


def _consume_one_by_one(bench: Workbench, vectorizer: TfidfVectorizer) -> None:
    client = bench.client
    while reply := client.xreadgroup(GROUP, "worker-1", {STREAM: ">"}, count=10):
        ((_, entries),) = reply
        for entry_id, fields in entries:
            product = json.loads(fields[b"data"])
            text = f"{product.get('name', '')} {product.get('description', '')}"
            vector = vectorizer.transform([text]).toarray()[0].astype(np.float32)
            client.hset(
                f"product:embedding:{product['id']}",
                mapping={
                    "vector": np.pad(vector, (0, 384 - len(vector))).tobytes(),
                    "category": product.get("category", ""),
                    "name": product.get("name", ""),
                    "price": product.get("price", 0),
                },
            )
            client.xack(STREAM, GROUP, entry_id)
