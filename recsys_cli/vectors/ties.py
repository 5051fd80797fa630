"""Ties of scores: the order among neighbors, and where an answer of limited length may be cut.

A store that returns so many neighbors and no more may cut through those that share a score, and
which of them it keeps is chance. So a few more are asked for than are wanted, and twice as many as
long as the last of them still has the score of the last one wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from recsys_cli.domain import SCORE_DECIMALS, Neighbor

SPARE = 4
"""How many more are asked for at once."""

_LARGEST = 1000
"""From how many on no more are asked for: a tie of so many is cut by chance."""

Query = TypeVar("Query")


def in_order(found: Iterable[Neighbor]) -> list[Neighbor]:
    """Return the closest first, ids on a tie."""
    return sorted(found, key=lambda neighbor: (-_rounded(neighbor), neighbor.product_id))


def closest(
    queries: Sequence[Query],
    limit: int,
    nearest: Callable[[Sequence[Query], int], dict[Query, list[Neighbor]]],
) -> dict[Query, list[Neighbor]]:
    """Return what ``nearest`` finds, each in order, with all that share the score at ``limit``.

    ``nearest`` returns so many neighbors of each query, in order; it may leave queries out.
    """
    asked = limit + SPARE
    found = nearest(queries, asked)
    while cut := [query for query, mine in found.items() if _cuts(mine, asked, limit)]:
        asked *= 2
        found |= nearest(cut, asked)
    return found


def _cuts(found: Sequence[Neighbor], asked: int, limit: int) -> bool:
    return (
        len(found) == asked
        and asked < _LARGEST
        and _rounded(found[-1]) == _rounded(found[limit - 1])
    )


def _rounded(neighbor: Neighbor) -> float:
    """Return the score as far as it counts."""
    return round(neighbor.similarity_score, SCORE_DECIMALS)
