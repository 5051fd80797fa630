"""Why are two products close? Taken apart by the model in use, from what the catalog holds now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from recsys_cli.domain import Explanation, Product
from recsys_cli.pipeline.models import serving_artifact
from recsys_cli.pipeline.show import show_product
from recsys_cli.pipeline.similar import Similar, probe
from recsys_cli.ports import Catalog, EmbeddingModel, Generations, ModelFactory, VectorStore

TOLERANCE = 1e-3
"""How far the score of the stored vectors may lie from the explained one."""


def agrees(explanation: Explanation, score: float) -> bool:
    """Whether this is what makes up the score that the index has."""
    return abs(explanation.score - score) <= TOLERANCE


@dataclass(frozen=True)
class Explained:
    """Why ``one`` and ``other`` are close.

    ``stored_score`` is the cosine of their stored vectors, None where one of them has none.
    """

    one: Product
    other: Product
    explanation: Explanation
    stored_score: float | None

    @property
    def is_current(self) -> bool:
        """Whether the index answers by what is explained here."""
        return self.stored_score is not None and agrees(self.explanation, self.stored_score)


class Explainer:
    """Explains by the model in use. Raises NotEmbedded where there is none yet."""

    def __init__(self, catalog: Catalog, generations: Generations, models: ModelFactory) -> None:
        self._catalog = catalog
        self._generations = generations
        self._models = models

    @cached_property
    def _model(self) -> EmbeddingModel:
        return self._models.load(serving_artifact(self._catalog, self._generations))

    def answer(self, similar: Similar, text: str | None = None) -> dict[str, Explanation]:
        """Explain why each neighbor is close to the product, or to the ``text`` that was asked.

        What was deleted meanwhile is left out.
        """
        products = self._products([similar.product_id, *(n.product_id for n in similar.neighbors)])
        queried = products.get(similar.product_id) if text is None else probe(text)
        if queried is None:
            return {}
        return {
            n.product_id: self._model.explain(queried, products[n.product_id])
            for n in similar.neighbors
            if n.product_id in products
        }

    def pair(self, one_id: str, other_id: str, vectors: VectorStore) -> Explained:
        """Explain two products by their ids. Raises ProductNotFound."""
        one, other = (show_product(self._catalog, i) for i in (one_id, other_id))
        stored = vectors.get([one.id, other.id])
        score = None
        if one.id in stored and other.id in stored:
            score = float(stored[one.id] @ stored[other.id])
        return Explained(one, other, self._model.explain(one, other), score)

    def _products(self, product_ids: Sequence[str]) -> dict[str, Product]:
        states = self._catalog.get(product_ids)
        return {i: product for i, state in states.items() if (product := state.product(i))}
