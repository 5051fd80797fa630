"""Exact search over vectors that pass by page by page: the truth that an index is held against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from recsys_cli.domain import SCORE_DECIMALS
from recsys_cli.errors import InvalidData
from recsys_cli.ports import Matrix, Vector, VectorStore

Page: TypeAlias = tuple[Sequence[str], Matrix]
"""Ids, and their vectors as rows."""


class Scored(NamedTuple):
    product_id: str
    score: float


def nearest(queries: Page, pages: Iterable[Page], k: int) -> list[list[Scored]]:
    """Return the ``k`` closest of all pages to each query, the closest first, ids on a tie.

    A query is not its own neighbor. Of several that tie for the last place any may be returned.
    Memory: about (k + a page) numbers for each query.
    """
    query_ids, rows = queries
    place = {query_id: row for row, query_id in enumerate(query_ids)}
    scores = np.full((len(rows), 0), -np.inf, np.float32)
    ids = np.empty((len(rows), 0), dtype=object)
    for page_ids, vectors in pages:
        cosines = rows @ vectors.T
        for column, page_id in enumerate(page_ids):
            if (own := place.get(page_id)) is not None:
                cosines[own, column] = -np.inf
        all_ids = np.broadcast_to(np.array(page_ids, dtype=object), cosines.shape)
        scores = np.concatenate([scores, cosines], axis=1)
        ids = np.concatenate([ids, all_ids], axis=1)
        if scores.shape[1] > k:
            best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            scores = np.take_along_axis(scores, best, axis=1)
            ids = np.take_along_axis(ids, best, axis=1)
    return [_ranked(*found) for found in zip(ids, scores, strict=True)]


def stored_pages(vectors: VectorStore, dimension: int) -> Iterator[Page]:
    """Yield all embeddings of the store, without those whose vector is damaged."""
    for entries in vectors.entries():
        sound = [
            (e.product_id, e.vector)
            for e in entries
            if e.vector is not None and len(e.vector) == dimension and is_unit(e.vector)
        ]
        if sound:
            yield [product_id for product_id, _ in sound], np.stack([row for _, row in sound])


def sound_vectors(vectors: VectorStore, product_ids: Sequence[str]) -> dict[str, Vector]:
    """Return the vectors of those products that have one, without those that are damaged."""
    try:
        return vectors.get(product_ids)
    except InvalidData:
        found: dict[str, Vector] = {}
        for product_id in product_ids:
            with contextlib.suppress(InvalidData):
                found |= vectors.get([product_id])
        return found


def is_unit(vector: npt.NDArray[np.float32]) -> bool:
    """Whether the vector is finite and of length one, as every embedding is."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(abs(float(vector @ vector) - 1) < 0.001)


def _ranked(ids: npt.NDArray[np.object_], scores: npt.NDArray[np.float32]) -> list[Scored]:
    found = [
        Scored(product_id, round(float(score), SCORE_DECIMALS))
        for product_id, score in zip(ids, scores, strict=True)
        if score > -np.inf
    ]
    return sorted(found, key=lambda scored: (-scored.score, scored.product_id))
