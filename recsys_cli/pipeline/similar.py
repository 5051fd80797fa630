"""Neighbors of a product, or of a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from recsys_cli.batches import batched
from recsys_cli.cleaning import clean_id, clean_text
from recsys_cli.domain import Neighbor, Product, SearchFilter
from recsys_cli.errors import IndexMissing, NotEmbedded, NotFound, UsageError
from recsys_cli.generations import Generation, serving
from recsys_cli.pipeline.models import artifact_of
from recsys_cli.pipeline.products import not_found
from recsys_cli.ports import Catalog, EventProcessor, Generations, ModelFactory, Vector, VectorStore

CHUNK = 100
"""Queried products whose vectors are fetched in one round trip."""


@dataclass(frozen=True)
class Query:
    """What to look for. ``min_score`` cuts; None cuts nothing and ``strong`` only marks."""

    limit: int = 10
    where: SearchFilter | None = None
    min_score: float | None = None
    strong: float = 0.75


class RankedNeighbor(Neighbor, frozen=True, kw_only=True):
    """A neighbor, and whether it is close enough to be called similar."""

    strong: bool


@dataclass(frozen=True)
class Similar:
    """The neighbors of one product, closest first; ``hidden`` more were below ``min_score``."""

    product_id: str
    neighbors: list[RankedNeighbor]
    hidden: int


class SimilarProducts:
    """Answers queries by id, each from one generation alone. Create once, ask often."""

    def __init__(self, events: EventProcessor, catalog: Catalog, generations: Generations) -> None:
        self._events = events
        self._catalog = catalog
        self._generations = generations

    def of(self, product_ids: Iterable[str], query: Query) -> Iterator[Similar | NotFound]:
        """Yield an answer, or why there is none, for each id in its turn."""
        for chunk in batched(map(clean_id, product_ids), CHUNK):
            found = self._found(chunk, query)
            for product_id in chunk:
                yield found.get(product_id) or self._why_not(product_id)

    def _found(self, product_ids: list[str], query: Query) -> dict[str, Similar]:
        """Return the answers for those that have an embedding in the generation that serves."""
        while True:
            generation = serving(self._generations.all())
            vectors = self._generations.store(generation)
            try:
                rows = vectors.get(product_ids)
                found = {i: search(vectors, row, query, i) for i, row in rows.items()}
            except IndexMissing:
                if self._serves(generation):
                    raise
                continue
            if len(found) == len(set(product_ids)) or self._serves(generation):
                return found

    def _serves(self, generation: Generation) -> bool:
        """Whether it still does. If not, it may have been dropped while it was asked."""
        return serving(self._generations.all()).number == generation.number

    def _why_not(self, product_id: str) -> NotFound:
        state = self._catalog.get([product_id]).get(product_id)
        if state is None or not state.exists:
            return not_found(self._catalog, product_id)
        status = self._events.status()
        if status.lag == 0 and status.pending == 0:
            return NotEmbedded(
                f"product {product_id!r} is in the catalog but has no embedding, and no event is "
                "waiting: its text has no words, or its event was given up (recsys dlq list)",
                hint=f"recsys product show {product_id}",
            )
        return NotEmbedded(
            f"product {product_id!r} is in the catalog but not embedded yet",
            hint="recsys consume --drain",
        )


def similar_to_text(
    text: str,
    catalog: Catalog,
    generations: Generations,
    models: ModelFactory,
    query: Query,
) -> Similar:
    """Return the products closest to a text, embedded by the model in use."""
    generation = serving(generations.all())
    artifact = artifact_of(catalog, generation)
    (vector,) = models.load(artifact).embed([probe(text)])
    if not vector.any():
        raise UsageError(f"the text has no words to compare: {text!r}")
    return search(generations.store(generation), vector, query, "")


def probe(text: str) -> Product:
    """Return a product that is nothing but this text."""
    return Product(id="", name=clean_text(text))


def search(vectors: VectorStore, vector: Vector, query: Query, product_id: str) -> Similar:
    """Return what is closest to ``vector``, without ``product_id`` itself."""
    found = vectors.search(vector, query.limit + 1, query.where)
    others = [n for n in found if n.product_id != product_id][: query.limit]
    threshold = query.strong if query.min_score is None else query.min_score
    ranked = [
        RankedNeighbor(**msgspec.structs.asdict(n), strong=n.similarity_score >= threshold)
        for n in others
    ]
    shown = ranked if query.min_score is None else [n for n in ranked if n.strong]
    return Similar(product_id, shown, len(ranked) - len(shown))
