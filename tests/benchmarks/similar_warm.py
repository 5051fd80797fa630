"""Neighbors, asked within one process on open connections, as ``recsys similar`` asks for them.

Limit: HGET of the stored vector and FT.SEARCH for ten, with the index's own effort and the same
fields, through redis-py. Peer: HGET and ``VectorQuery`` of RedisVL. Random products, the ways in
turn for each; the medians are compared, and the slowest of a hundred.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from recsys_cli.pipeline.similar import Query, Similar, SimilarProducts
from recsys_cli.wiring import Backends
from tests.benchmarks.bare import INDEX
from tests.benchmarks.comparison import MS, Goal, Row, at_most, percentile
from tests.benchmarks.workbench import Stock, Workbench, has_redisvl

RETURNED = ("distance", "category", "name", "price", "updated_at")
WARMING = 20


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    on = bench.filled_redis(stock)
    with bench.backends(on) as opened:
        ways = {"ours": ours(opened), "limit": _bare(bench)}
        if has_redisvl():
            ways["peer"] = _redisvl(bench)
        took = timed(ways, chosen(stock, bench.effort.queries + WARMING), WARMING)
    return [
        _row(size, "median", took, 50, at_most(1.5), at_most(1, "peer")),
        _row(size, "p99", took, 99, at_most(1.5)),
    ]


def ours(opened: Backends) -> Callable[[str], object]:
    """Return what asks for the neighbors of one product through these adapters."""
    similar = SimilarProducts(
        opened.get_event_processor(), opened.get_catalog(), opened.get_generations()
    )

    def ask(product_id: str) -> object:
        (answer,) = similar.of([product_id], Query())
        if not (isinstance(answer, Similar) and answer.neighbors):
            raise AssertionError(f"no neighbors of {product_id}: {answer}")
        return answer

    return ask


def chosen(stock: Stock, count: int) -> list[str]:
    """Return random products that have an embedding."""
    embedded = [p.id for p, v in zip(stock.products, stock.vectors, strict=True) if v.any()]
    return random.Random(2).choices(embedded, k=count)


def timed(
    ways: dict[str, Callable[[str], object]], product_ids: list[str], warming: int
) -> dict[str, list[float]]:
    """Go every way for each product; return the milliseconds, after the first few.

    Each way is the first in its turn: who asks for a product again finds the caches filled.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    order = deque(ways)
    for product_id in product_ids:
        order.rotate()
        for name in order:
            started = time.perf_counter()
            ways[name](product_id)
            took[name].append((time.perf_counter() - started) * 1000)
    return {name: figures[warming:] for name, figures in took.items()}


def _row(size: int, what: str, took: dict[str, list[float]], percent: int, *goals: Goal) -> Row:
    figures = {name: percentile(found, percent) for name, found in took.items()}
    return Row(
        stage=f"similar, warm, {what}",
        size=size,
        unit=MS,
        ours=figures["ours"],
        limit=figures["limit"],
        peer=figures.get("peer"),
        goals=goals,
        notes="in process; HGET + FT.SEARCH; HGET + VectorQuery of RedisVL",
    )


def _bare(bench: Workbench) -> Callable[[str], object]:
    client = bench.client

    def ask(product_id: str) -> object:
        vector = client.execute_command("HGET", f"product:embedding:{product_id}", "vector")
        return client.execute_command(
            *("FT.SEARCH", INDEX, "*=>[KNN 10 @vector $vector AS distance]"),
            *("PARAMS", 2, "vector", vector, "RETURN", len(RETURNED), *RETURNED),
            *("SORTBY", "distance", "LIMIT", 0, 10, "DIALECT", 2),
        )

    return ask


def _redisvl(bench: Workbench) -> Callable[[str], object]:
    from redisvl.index import SearchIndex
    from redisvl.query import VectorQuery

    index: Any = SearchIndex.from_existing(INDEX, redis_url=bench.server.url)

    def ask(product_id: str) -> object:
        vector = bench.client.hget(f"product:embedding:{product_id}", "vector")
        query = VectorQuery(vector, "vector", return_fields=list(RETURNED[1:]), num_results=10)
        return index.query(query)

    return ask
