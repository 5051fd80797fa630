"""How good are rankings? Binary relevance: a product is a match, or it is not.

Of each query there are its ``hits``, True where the product of that rank is a match, and
``relevant``, the number of its matches (Manning, Raghavan & Schuetze 2008, chapter 8; nDCG:
Jaervelin & Kekaelaeinen 2002). All are between 0 and 1, and averaged over the queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2


def recall(hits: Sequence[bool], relevant: int, k: int) -> float:
    """Hits within k / min(k, relevant): 1 where as many were found as k allows."""
    return sum(hits[:k]) / min(k, relevant)


def precision(hits: Sequence[bool], k: int) -> float:
    """Hits within k / k."""
    return sum(hits[:k]) / k


def reciprocal_rank(hits: Sequence[bool], k: int) -> float:
    """1 / rank of the first hit within k, 0 without one."""
    return next((1 / rank for rank, hit in enumerate(hits[:k], start=1) if hit), 0.0)


def ndcg(hits: Sequence[bool], relevant: int, k: int) -> float:
    """DCG / the DCG of the best ranking, with DCG = sum over the hits of 1 / log2(rank + 1)."""
    gain = sum(1 / log2(rank + 1) for rank, hit in enumerate(hits[:k], start=1) if hit)
    return gain / sum(1 / log2(rank + 1) for rank in range(1, min(k, relevant) + 1))
