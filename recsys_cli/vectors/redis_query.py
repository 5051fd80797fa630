"""The question to RediSearch and its answer: KNN with filters.

https://redis.io/docs/latest/develop/ai/search-and-query/query/vector-search/

Filter values travel as parameters, so no character in them has a meaning, save the backslash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recsys_cli.connections.redis import Argument, Command, Reply, pairs
from recsys_cli.domain import Neighbor, SearchFilter

LARGEST_LIMIT = 1_000_000
"""RediSearch refuses a LIMIT above its MAXSEARCHRESULTS."""

NO_CATEGORY = "\x1f"
"""What no category is: the separator of tags."""

_TIMEOUT_MS = 10_000
_TAG_BYTES = 4096
_TAG_SPACES = " \t\n\v\f\r"
_TIE_DIGITS = 6
_RETURNED = ("distance", "category", "name", "price", "updated_at")


class Effort(NamedTuple):
    """``ef``: candidates to keep in the graph, None for the index's own; or every vector."""

    ef: int | None = None
    is_exact: bool = False


def knn(index: str, vector: bytes, limit: int, where: SearchFilter, effort: Effort) -> Command:
    """Return the command for the ``limit`` products closest to ``vector``, filtered before."""
    conditions, values = _conditions(where)
    parameters: dict[str, Argument] = {"limit": limit, "vector": vector, **values}
    how = ""
    if effort.is_exact:
        # The policy goes with a filter only, so there is one: it lets everything pass.
        how = " HYBRID_POLICY ADHOC_BF"
        if conditions == "*":
            conditions, parameters["none"] = "(-@category:{$none})", NO_CATEGORY
    elif effort.ef is not None:
        how, parameters["ef"] = " EF_RUNTIME $ef", max(effort.ef, 1)
    return (
        *("FT.SEARCH", index, f"{conditions}=>[KNN $limit @vector $vector{how} AS distance]"),
        *("PARAMS", 2 * len(parameters), *(x for pair in parameters.items() for x in pair)),
        *("RETURN", len(_RETURNED), *_RETURNED),
        # Without a LIMIT ten come back; without a TIMEOUT, what was found in half a second.
        *("SORTBY", "distance", "LIMIT", 0, limit, "TIMEOUT", _TIMEOUT_MS, "DIALECT", 2),
    )


def among(index: str, keys: Sequence[str]) -> Command:
    """Return the command for those of the keys that the index has."""
    return (
        *("FT.SEARCH", index, "*", "NOCONTENT"),
        *("INKEYS", len(keys)),
        *keys,
        *("LIMIT", 0, len(keys), "TIMEOUT", _TIMEOUT_MS, "DIALECT", 2),
    )


def neighbors(reply: Sequence[Reply], prefix: str) -> list[Neighbor]:
    """Return the answer, the closest first, ids on a tie; ``prefix``: what keys have before ids."""
    found = [
        _neighbor(text(key).removeprefix(prefix), pairs(fields))
        for key, fields in zip(reply[1::2], reply[2::2], strict=True)
        if fields is not None  # deleted between being found and being read
    ]
    return sorted(found, key=lambda neighbor: (-rounded(neighbor), neighbor.product_id))


def rounded(neighbor: Neighbor) -> float:
    """Return the score as far as it counts: float32 sums differ after that."""
    return round(neighbor.similarity_score, _TIE_DIGITS)


def _conditions(where: SearchFilter) -> tuple[str, dict[str, Argument]]:
    conditions: list[str] = []
    values: dict[str, Argument] = {}
    if where.category is not None:
        conditions.append("@category:{$category}")
        values["category"] = _tag(where.category)
    if where.price_min is not None or where.price_max is not None:
        conditions.append("@price:[$low $high]")
        values["low"] = "-inf" if where.price_min is None else repr(float(where.price_min))
        values["high"] = "+inf" if where.price_max is None else repr(float(where.price_max))
    return (f"({' '.join(conditions)})" if conditions else "*"), values


def _tag(value: str) -> bytes:
    """Return ``value`` as the index has it: without outer spaces, 4096 bytes at the most.

    Two categories that differ in no more than this are told apart in the answer.
    """
    return value.strip(_TAG_SPACES).encode()[:_TAG_BYTES].replace(b"\\", b"\\\\")


def _neighbor(product_id: str, fields: dict[bytes, bytes]) -> Neighbor:
    texts = {name: text(value) for name, value in fields.items()}
    distance = float(fields[b"distance"])
    return Neighbor(
        product_id=product_id,
        # The angle to a zero vector is not a number.
        similarity_score=0.0 if math.isnan(distance) else min(1.0, max(-1.0, 1.0 - distance)),
        category=texts.get(b"category", ""),
        name=texts.get(b"name", ""),
        price=price(texts),
        embedding_updated_at=texts.get(b"updated_at", ""),
    )


def price(texts: Mapping[bytes, str]) -> float | None:
    """Return the price; what is no number is none."""
    try:
        return float(texts[b"price"])
    except (KeyError, ValueError):
        return None


def text(raw: bytes) -> str:
    """Return what another program may have written, whatever it is."""
    return raw.decode("utf-8", "backslashreplace")
