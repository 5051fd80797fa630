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
from recsys_cli.vectors.ties import in_order

LARGEST_LIMIT = 1_000_000
"""RediSearch refuses a LIMIT above its MAXSEARCHRESULTS."""

NO_CATEGORY = "\x1f"
"""What no category is: the separator of tags."""

_TIMEOUT_MS = 10_000
_TAG_BYTES = 4096
_TAG_SPACES = " \t\n\v\f\r"
_RETURNED = ("distance", "category", "name", "price", "updated_at")


class Search(NamedTuple):
    """What is looked for, and how: ``ef`` candidates kept in the graph, None for the index's own.

    ``attributes``: those of the schema, in its order. ``exact``: every vector is compared.
    """

    where: SearchFilter
    attributes: Sequence[str] = ()
    ef: int | None = None
    exact: bool = False

    def right(self, found: list[Neighbor]) -> list[Neighbor]:
        """Return those whose category is the wanted one to the letter; see ``_tag``."""
        category = self.where.category
        return [n for n in found if category is None or n.category == category]


def attribute_field(name: str) -> str:
    """Return the field of the hash that holds an attribute."""
    return f"attribute:{name}"


def attribute_alias(number: int) -> str:
    """Return what queries call the attribute: its name may hold any characters."""
    return f"attribute_{number}"


def knn(index: str, vector: bytes, limit: int, how: Search) -> Command:
    """Return the command for the ``limit`` products closest to ``vector``, filtered before."""
    conditions, parameters = _conditions(how.where, how.attributes)
    parameters |= {"limit": limit, "vector": vector}
    effort = ""
    if how.exact:
        # The policy goes with a filter only, so there is one: it lets everything pass.
        effort = " HYBRID_POLICY ADHOC_BF"
        if not conditions:
            conditions, parameters["none"] = ["-@category:{$none}"], NO_CATEGORY
    elif how.ef is not None:
        effort, parameters["ef"] = " EF_RUNTIME $ef", how.ef
    matching = f"({' '.join(conditions)})" if conditions else "*"
    return (
        *("FT.SEARCH", index, f"{matching}=>[KNN $limit @vector $vector{effort} AS distance]"),
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
    return in_order(found)


def _conditions(
    where: SearchFilter, attributes: Sequence[str]
) -> tuple[list[str], dict[str, Argument]]:
    conditions: list[str] = []
    values: dict[str, Argument] = {}

    def among(tags: Sequence[str]) -> str:
        names = [f"tag{len(values) + n}" for n in range(len(tags))]
        values.update(zip(names, map(_tag, tags), strict=True))
        return "{" + "|".join(f"${name}" for name in names) + "}"

    if where.category is not None:
        conditions.append(f"@category:{among([where.category])}")
    if where.exclude_categories:
        conditions.append(f"-@category:{among(where.exclude_categories)}")
    for name, wanted in where.attributes.items():
        conditions.append(f"@{attribute_alias(attributes.index(name))}:{among(wanted)}")
    if where.price_min is not None or where.price_max is not None:
        conditions.append("@price:[$low $high]")
        values["low"] = "-inf" if where.price_min is None else repr(float(where.price_min))
        values["high"] = "+inf" if where.price_max is None else repr(float(where.price_max))
    return conditions, values


def _tag(value: str) -> bytes:
    """Return ``value`` as the index has it: without outer spaces, 4096 bytes at the most.

    Two categories that differ in no more than this are told apart in the answer.
    """
    return value.strip(_TAG_SPACES).encode()[:_TAG_BYTES].replace(b"\\", b"\\\\")


def _neighbor(product_id: str, fields: dict[bytes, bytes]) -> Neighbor:
    distance = float(fields[b"distance"])
    return Neighbor(
        product_id=product_id,
        # The angle to a zero vector is not a number.
        similarity_score=0.0 if math.isnan(distance) else min(1.0, max(-1.0, 1.0 - distance)),
        category=text(fields.get(b"category", b"")),
        name=text(fields.get(b"name", b"")),
        price=price(fields),
        embedding_updated_at=text(fields.get(b"updated_at", b"")),
    )


def price(fields: Mapping[bytes, bytes]) -> float | None:
    """Return the price; what is no number is none."""
    try:
        return float(fields[b"price"])
    except (KeyError, ValueError):
        return None


def text(raw: bytes) -> str:
    """Return what another program may have written, whatever it is."""
    return raw.decode("utf-8", "backslashreplace")
