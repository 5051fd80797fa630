"""How many of the true neighbors does an index find? Held against exact search, on a sample."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from recsys_cli.batches import batched
from recsys_cli.pipeline.exact import Page, Scored, nearest, stored_pages
from recsys_cli.ports import Matrix, VectorStore

_QUERIES_AT_ONCE = 50

T = TypeVar("T")

TOLERANCE = 1e-5
"""Of a score; with the k-th exact score any product is as good as the one that was found."""


@dataclass(frozen=True)
class Sample:
    """How many products are asked for, how many neighbors count, and which products are drawn."""

    products: int = 500
    k: int = 10
    seed: int = 1


@dataclass(frozen=True)
class Truth:
    """The sample, and for each of it the closest k, the closest first."""

    ids: list[str]
    rows: Matrix
    k: int
    neighbors: list[list[Scored]]


@dataclass(frozen=True)
class Recall:
    """``by_id``: the share of the true neighbors that each query of the sample found."""

    by_id: dict[str, float]

    @property
    def mean(self) -> float:
        """1 where there was nothing to find."""
        return float(np.mean(list(self.by_id.values()))) if self.by_id else 1.0

    @property
    def histogram(self) -> list[tuple[str, int]]:
        """Return how many queries lie in each tenth, the full recall on its own."""
        counted = Counter(min(int(value * 10 + 1e-9), 10) for value in self.by_id.values())
        names = [f"{n / 10:.1f} - {(n + 1) / 10:.1f}" for n in range(10)] + ["1.0"]
        return [(name, counted[n]) for n, name in enumerate(names)]

    def worst(self, count: int) -> list[tuple[str, float]]:
        """Return the queries that missed most."""
        missed = [(i, value) for i, value in self.by_id.items() if value < 1]
        return sorted(missed, key=lambda pair: (pair[1], pair[0]))[:count]


def exact_truth(vectors: VectorStore, dimension: int, sample: Sample) -> Truth:
    """Draw the sample and search it exactly. Two passes over the store, a page in memory."""
    ids, rows = _drawn(vectors, dimension, sample)
    found = nearest((ids, rows), stored_pages(vectors, dimension), sample.k)
    return Truth(list(ids), rows, sample.k, found)


def measure_recall(vectors: VectorStore, truth: Truth, ef: int | None = None) -> Recall:
    """Ask the index for the sample; ``ef``: candidates that it keeps, None for as it is set."""
    by_id = {}
    asked = [q for q in zip(truth.ids, truth.rows, truth.neighbors, strict=True) if q[2]]
    for batch in batched(asked, _QUERIES_AT_ONCE):
        answers = vectors.search_many([row for _, row, _ in batch], truth.k + 1, ef=ef)
        for (product_id, _, closest), found in zip(batch, answers, strict=True):
            others = [n for n in found if n.product_id != product_id][: truth.k]
            right = sum(n.similarity_score >= closest[-1].score - TOLERANCE for n in others)
            by_id[product_id] = min(1.0, right / len(closest))
    return Recall(by_id)


def _drawn(vectors: VectorStore, dimension: int, sample: Sample) -> Page:
    pages = stored_pages(vectors, dimension)
    drawn = draw((pair for page in pages for pair in zip(*page, strict=True)), sample)
    drawn.sort(key=lambda pair: pair[0])
    rows = np.stack([row for _, row in drawn]) if drawn else np.zeros((0, dimension), np.float32)
    return [product_id for product_id, _ in drawn], rows


def draw(stream: Iterable[T], sample: Sample) -> list[T]:
    """Draw evenly from a stream of unknown length (Vitter 1985, algorithm R)."""
    chance = random.Random(sample.seed)  # noqa: S311 - a sample, not a secret
    drawn: list[T] = []
    for seen, thing in enumerate(stream, start=1):
        if len(drawn) < sample.products:
            drawn.append(thing)
        elif (at := chance.randrange(seen)) < sample.products:
            drawn[at] = thing
    return drawn
