"""Neighbors that differ from each other as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_cli.ports import Matrix


def diversified(scores: Sequence[float], rows: Matrix, limit: int, balance: float) -> list[int]:
    """Return up to ``limit`` places of candidates by maximal marginal relevance, in that order.

    Each is the one with the greatest ``balance * score - (1 - balance) * closeness`` to what was
    chosen before, by cosine; the earlier of two that tie. With 1 the order of the scores stays.
    ``rows``: the candidates' unit vectors, shape (n, dimension). (Carbonell & Goldstein 1998, "The
    use of MMR, diversity-based reranking for reordering documents and producing summaries".)
    """
    relevance = balance * np.asarray(scores, np.float64)
    closeness = np.full(len(scores), -np.inf)
    is_left = np.ones(len(scores), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(limit, len(scores)):
        redundancy = closeness if chosen else np.zeros(len(scores))
        gains = np.where(is_left, relevance - (1 - balance) * redundancy, -np.inf)
        best = int(np.argmax(gains))
        chosen.append(best)
        is_left[best] = False
        closeness = np.maximum(closeness, rows @ rows[best])
    return chosen
