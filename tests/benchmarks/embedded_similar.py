"""Neighbors from the embedded file: opened anew for each query, and warm.

Limit: the exact scan of a matrix that is in memory, ``matrix @ query`` and ``argpartition``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from recsys_cli.ports import Vector
from tests.benchmarks.comparison import MS, Row, at_most, percentile
from tests.benchmarks.similar_warm import chosen, ours, timed
from tests.benchmarks.workbench import Stock, Workbench

GOAL_FROM = 100_000
WARMING = 3


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    on = bench.filled_home(stock)
    asked = chosen(stock, bench.effort.queries // 5 + WARMING)
    with bench.backends(on) as opened:
        ways = {"opened anew": _opening(bench, on), "warm": ours(opened), "limit": _scan(stock)}
        took = timed(ways, asked, WARMING)
    limit = percentile(took["limit"], 50)
    return [
        Row(
            stage=f"embedded: similar, {what}",
            size=size,
            unit=MS,
            ours=percentile(took[what], 50),
            limit=limit,
            goals=(at_most(4),) if size >= GOAL_FROM else (),
            notes="in process; numpy's exact scan of a matrix in memory",
        )
        for what in ("opened anew", "warm")
    ]


def _opening(bench: Workbench, on: Mapping[str, str]) -> Callable[[str], object]:
    def ask(product_id: str) -> object:
        with bench.backends(on) as opened:
            return ours(opened)(product_id)

    return ask


def _scan(stock: Stock) -> Callable[[str], object]:
    matrix = np.ascontiguousarray(stock.vectors)
    row_of = {product.id: row for row, product in enumerate(stock.products)}

    def ask(product_id: str) -> object:
        query: Vector = matrix[row_of[product_id]]
        scores = matrix @ query
        nearest = np.argpartition(scores, -10)[-10:]
        return nearest[np.argsort(-scores[nearest])]

    return ask
