"""May a new generation serve? It must be whole, findable, and not absurdly unlike the old one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recsys_cli.pipeline.embed import Target
from recsys_cli.pipeline.exact import Scored, nearest, sound_vectors, stored_pages
from recsys_cli.pipeline.fill import Filled, embed_missing
from recsys_cli.pipeline.recall import Sample, Truth, exact_truth, measure_recall
from recsys_cli.ports import Catalog, VectorStore

_NAMED = 5


@dataclass(frozen=True)
class Limits:
    """What a generation must reach to serve; shares of 1.

    ``max_zero_vectors``: products of which no embedding can be made; ``min_overlap``: neighbors in
    common with the generation that serves; ``sample``: what recall and overlap are measured on.
    """

    min_recall: float = 0.95
    min_overlap: float = 0.3
    max_zero_vectors: float = 0.05
    sample: Sample = field(default_factory=lambda: Sample(products=200))


@dataclass(frozen=True)
class Readiness:
    """``missing``: products that have words and, though embedded, no embedding.

    ``unindexed``: embeddings that the index does not have. ``overlap`` is None where the serving
    generation has no neighbors to compare with.
    """

    products: int
    missing: list[str]
    unindexed: int
    zero_vectors: float
    recall: float
    overlap: float | None

    def refusals(self, limits: Limits) -> list[str]:
        """Return a sentence for everything that keeps it from serving."""
        said = []
        if self.products == 0:
            said.append("it is empty")
        if self.missing:
            said.append(f"products are missing: {', '.join(self.missing[:_NAMED])} ...")
        if self.unindexed > 0:
            said.append(f"the index lacks {self.unindexed:,} of the embeddings")
        if self.zero_vectors > limits.max_zero_vectors:
            said.append(
                f"zero vectors: {self.zero_vectors:.1%} of the products have no words that the "
                f"model knows, more than {limits.max_zero_vectors:.1%}"
            )
        if self.recall < limits.min_recall:
            said.append(f"recall is {self.recall:.4f}, below {limits.min_recall:g}")
        if self.overlap is not None and self.overlap < limits.min_overlap:
            said.append(
                f"only {self.overlap:.2f} of the neighbors are those of the serving generation, "
                f"below {limits.min_overlap:g}"
            )
        return said


def readiness(
    target: Target, serving: VectorStore, catalog: Catalog, filled: Filled, limits: Limits
) -> Readiness:
    """Look at a generation that was just filled, while events go on coming in."""
    truth = exact_truth(target.vectors, target.model.dimension, limits.sample)
    return Readiness(
        products=filled.products,
        missing=embed_missing(target, catalog),
        unindexed=_unindexed(target.vectors, truth.ids),
        zero_vectors=filled.wordless / max(1, filled.products),
        recall=measure_recall(target.vectors, truth).mean,
        overlap=_overlap(truth, serving, target.model.dimension),
    )


def _unindexed(vectors: VectorStore, sample: list[str]) -> int:
    """Return how many embeddings the index refused, or lacks, as far as the sample tells."""
    info = vectors.info()
    if info is None:
        return len(sample)
    stored = vectors.stored(vectors.unindexed(sample))
    return max(info.failures, info.documents - info.indexed, len(stored))


def _overlap(truth: Truth, old: VectorStore, dimension: int) -> float | None:
    """Return the mean share of the true neighbors that both have, for products that both have."""
    if old.dimension() is None:
        return None
    rows = sound_vectors(old, truth.ids)
    if not rows:
        return None
    before = nearest(
        (list(rows), np.stack(list(rows.values()))), stored_pages(old, dimension), truth.k
    )
    after = dict(zip(truth.ids, truth.neighbors, strict=True))
    shares = [
        len(_ids(neighbors) & _ids(after[product_id])) / len(neighbors)
        for product_id, neighbors in zip(rows, before, strict=True)
        if neighbors
    ]
    return sum(shares) / len(shares) if shares else None


def _ids(neighbors: list[Scored]) -> set[str]:
    return {scored.product_id for scored in neighbors}
