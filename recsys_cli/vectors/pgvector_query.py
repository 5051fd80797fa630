"""The question to pgvector and its answer: the nearest neighbors, with filters.

https://github.com/pgvector/pgvector#hnsw

One statement, which is a transaction of its own: settings are made in it, for it alone, so it
travels once and leaves nothing behind in a session that a pooler hands on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from recsys_cli.domain import Neighbor, SearchFilter
from recsys_cli.ports import Vector
from recsys_cli.vectors.pgvector_table import numbers
from recsys_cli.vectors.ties import in_order

_INDEXED = 200
"""How many characters of a category or an attribute are in an index."""

LARGEST_EF = 1000
"""pgvector's limit of hnsw.ef_search."""


# Settings are made while "asked" is read, so before the index is: its rows say where to begin.
_SEARCH = """
    WITH asked AS MATERIALIZED (
        SELECT key, query FROM ({asked}) AS a, (SELECT {settings} AS made) AS s
        WHERE s.made IS NOT NULL)
    SELECT asked.key, to_regclass(%(index)s) IS NOT NULL, found.*
    FROM asked LEFT JOIN LATERAL (
        SELECT product_id, 1 - ({distance}) AS score, category, name, price, updated_at
        FROM {{schema}}.{{table}} WHERE {conditions}
        ORDER BY {order} LIMIT %(limit)s) AS found ON true"""

_DISTANCE = "vector OPERATOR({extension}.<=>) asked.query"

_GIVEN = """
        SELECT name AS key, (%(vectors)s)[(n - 1) * {dimension} + 1 : n * {dimension}]
            ::{extension}.vector AS query
        FROM unnest(%(asked)s::text[]) WITH ORDINALITY AS a(name, n)"""

_KEPT = """
        SELECT product_id AS key, vector AS query FROM {schema}.{table}
        WHERE product_id = ANY(%(asked)s)"""


class Asked(Protocol):
    """Vectors to search for, each under a name."""

    @property
    def text(self) -> str: ...

    def values(self, names: Sequence[str]) -> dict[str, object]: ...


class Given(NamedTuple):
    """Vectors that are sent along."""

    vectors: Mapping[str, Vector]
    text: str = _GIVEN

    def values(self, names: Sequence[str]) -> dict[str, object]:
        return {
            "asked": list(names),
            "vectors": numbers([self.vectors[name] for name in names]),
        }


class Kept(NamedTuple):
    """The vectors of stored products, by their ids."""

    text: str = _KEPT

    def values(self, names: Sequence[str]) -> dict[str, object]:
        return {"asked": list(names)}


class Search(NamedTuple):
    """What is looked for, and how: ``ef`` candidates kept in the graph, at most LARGEST_EF.

    ``exact``: every vector is compared. ``is_iterative``: pgvector goes on looking where the
    filter has left too few of the candidates.
    """

    where: SearchFilter
    ef: int
    exact: bool
    is_iterative: bool

    def text(self, asked: Asked) -> str:
        """Return the statement, with names to put in."""
        names = ["set_config('hnsw.ef_search', %(ef)s, true)"]
        if self.is_iterative:
            names.append("set_config('hnsw.iterative_scan', 'relaxed_order', true)")
        return _SEARCH.format(
            asked=asked.text,
            settings=" || ".join(names),
            distance=_DISTANCE,
            conditions=" AND ".join(self._conditions()) or "true",
            # No index is in the order of a sum.
            order=f"({_DISTANCE}) + 0" if self.exact else _DISTANCE,
        )

    def values(self) -> dict[str, object]:
        where = self.where
        values: dict[str, object] = {
            "ef": str(min(max(1, self.ef), LARGEST_EF)),
            "category": where.category,
            "excluded": list(where.exclude_categories),
            "price_min": where.price_min,
            "price_max": where.price_max,
        }
        for number, (name, wanted) in enumerate(where.attributes.items()):
            values |= {f"name_{number}": name, f"wanted_{number}": list(wanted)}
            values[f"cut_{number}"] = [value[:_INDEXED] for value in wanted]
        return values

    def _conditions(self) -> list[str]:
        where = self.where
        beginning = f"{_beginning('category')} = {_beginning('%(category)s')}"
        asked = {
            f"category = %(category)s AND {beginning}": where.category is not None,
            "category <> ALL(%(excluded)s)": bool(where.exclude_categories),
            "price >= %(price_min)s": where.price_min is not None,
            "price <= %(price_max)s": where.price_max is not None,
        }
        conditions = [condition for condition, is_asked in asked.items() if is_asked]
        for number in range(len(where.attributes)):
            value = f"attributes ->> %(name_{number})s"
            conditions.append(f"{value} = ANY(%(wanted_{number})s)")
            conditions.append(f"{_beginning(value)} = ANY(%(cut_{number})s)")
        return conditions


def _beginning(value: str) -> str:
    """Return what is in an index of a value."""
    return f"left({value}, {_INDEXED})"


class Answer(NamedTuple):
    """The neighbors of each query by its key, the closest first, ids on a tie."""

    has_index: bool
    neighbors: dict[str, list[Neighbor]]


def answer(rows: Sequence[Sequence[Any]]) -> Answer:
    found: dict[str, list[Neighbor]] = {}
    has_index = True
    for key, is_there, product_id, *facts in rows:
        has_index = is_there
        mine = found.setdefault(key, [])
        if product_id is not None:
            mine.append(_neighbor(product_id, *facts))
    return Answer(has_index, {key: in_order(mine) for key, mine in found.items()})


def _neighbor(
    product_id: str, score: float, category: str, name: str, price: float | None, updated_at: str
) -> Neighbor:
    return Neighbor(
        product_id=product_id,
        # The angle to a zero vector is not a number.
        similarity_score=0.0 if math.isnan(score) else min(1.0, max(-1.0, score)),
        category=category,
        name=name,
        price=price,
        embedding_updated_at=updated_at,
    )
