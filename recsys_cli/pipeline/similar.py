"""Neighbors of a product, or of a text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from recsys_cli.batches import batched
from recsys_cli.cleaning import clean_text
from recsys_cli.domain import SCORE_DECIMALS, Neighbor, Product, SearchFilter
from recsys_cli.errors import IndexMissing, NotEmbedded, NotFound, UsageError
from recsys_cli.generations import Generation, serving
from recsys_cli.pipeline.given import given_id
from recsys_cli.pipeline.models import artifact_of
from recsys_cli.pipeline.show import not_found
from recsys_cli.ports import Catalog, EventProcessor, Generations, ModelFactory, VectorStore

DIVERSE_OF = 50
"""Candidates, at least, of which a diverse answer is chosen."""

WIDEST = 5000
"""Candidates after which a distinct answer is looked for no further."""

LOOK_EVERY_S = 0.1
"""So long the one that served is taken to serve: it is whole still, or gone, and that shows."""

CHUNK = 100
"""Queried products whose vectors are fetched in one round trip."""


@dataclass(frozen=True)
class Query:
    """What to look for. ``min_score`` cuts; None cuts nothing and ``strong`` only marks.

    ``distinct``: of neighbors with the same value of this field only the closest. ``diverse``: the
    balance of closeness and variety, 1 is closeness alone. ``ef``, ``exact``: see VectorStore.
    """

    limit: int = 10
    where: SearchFilter | None = None
    min_score: float | None = None
    strong: float = 0.75
    distinct: str | None = None
    diverse: float | None = None
    ef: int | None = None
    exact: bool = False

    @property
    def width(self) -> int:
        """How many candidates are looked at."""
        return self.limit if self.diverse is None else max(DIVERSE_OF, 5 * self.limit)


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
        self._last: Generation | None = None
        self._look_at_s = 0.0

    def of(self, product_ids: Iterable[str], query: Query) -> Iterator[Similar | NotFound]:
        """Yield an answer, or why there is none, for each id in its turn."""
        for chunk in batched(map(given_id, product_ids), CHUNK):
            found = self._found(chunk, query)
            for product_id in chunk:
                yield found.get(product_id) or self._why_not(product_id)

    def _found(self, product_ids: list[str], query: Query) -> dict[str, Similar]:
        """Return the answers for those that have an embedding in the generation that serves."""
        while True:
            generation = self._serving()
            check_filter(query.where, generation)
            vectors = self._generations.store(generation)
            ask = partial(vectors.neighbors, where=query.where, ef=query.ef, exact=query.exact)
            try:
                found = _answers(product_ids, ask, vectors, self._catalog, query)
            except IndexMissing:
                if self._serves(generation):
                    raise
                continue
            if len(found) == len(set(product_ids)) or self._serves(generation):
                return found

    def _serves(self, generation: Generation) -> bool:
        """Whether it still does. If not, it may have been dropped while it was asked."""
        self._look_at_s = 0.0
        return self._serving().number == generation.number

    def _serving(self) -> Generation:
        if self._last is None or time.monotonic() >= self._look_at_s:
            self._last = serving(self._generations.all())
            self._look_at_s = time.monotonic() + LOOK_EVERY_S
        return self._last

    def _why_not(self, product_id: str) -> NotFound:
        state = self._catalog.get([product_id]).get(product_id)
        if state is None or not state.exists:
            return not_found(self._catalog, product_id)
        status = self._events.status()
        if status.lag == 0 and status.pending == 0:
            shows_late = self._generations.store(self._serving()).is_eventually_consistent
            reasons = [
                "its text has no words",
                "its event was given up (recsys dlq list)",
                "its embedding is lost",
                *(["the index does not show it yet"] if shows_late else []),
            ]
            return NotEmbedded(
                f"product {product_id!r} is in the catalog but has no embedding, and no event is "
                f"waiting: {', or '.join(reasons)}",
                hint="recsys doctor tells which, and recsys doctor --fix has it embedded again",
            )
        return NotEmbedded(
            f"product {product_id!r} is in the catalog but not embedded yet",
            hint="recsys consume --drain; if no event of it is waiting, recsys doctor --fix first",
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
    check_filter(query.where, generation)
    vectors = generations.store(generation)

    def ask(_: Sequence[str], limit: int) -> Candidates:
        found = vectors.search_many([vector], limit, query.where, ef=query.ef, exact=query.exact)
        return {"": found[0]}

    return _answers([""], ask, vectors, catalog, query)[""]


def probe(text: str) -> Product:
    """Return a product that is nothing but this text."""
    return Product(id="", name=clean_text(text))


_OPTIONS = {"category": "--category", "price": "--price-min and --price-max"}


def parse_attributes(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read ``brand=Sony``; values of the same name are alternatives. Raises UsageError."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, is_there, value = text.partition("=")
        if name in _OPTIONS:
            raise UsageError(f"--where is for attributes; for {name} there is {_OPTIONS[name]}")
        if not (name and is_there and value):
            raise UsageError(f"--where is {text!r}: it must be NAME=VALUE, such as brand=Sony")
        found[name] = (*found.get(name, ()), clean_text(value))
    return found


def check_filter(where: SearchFilter | None, generation: Generation) -> None:
    """Raise UsageError for an attribute that the index was not made to filter by."""
    declared = generation.spec.attributes
    for name in where.attributes if where else ():
        if name not in declared:
            raise UsageError(
                f"the index cannot filter by {name!r}; it can by: {', '.join(declared) or 'none'}",
                hint=f"recsys reembed --attribute {name}"
                + "".join(f" --attribute {other}" for other in declared),
            )


Candidates: TypeAlias = dict[str, list[Neighbor]]

Ask: TypeAlias = Callable[[Sequence[str], int], Candidates]
"""What finds, for each of those that have an embedding, up to so many neighbors: in one call."""


def _answers(
    product_ids: Sequence[str], ask: Ask, vectors: VectorStore, catalog: Catalog, query: Query
) -> dict[str, Similar]:
    """Return for each id the neighbors that are wanted, without itself."""
    found = _candidates(product_ids, ask, catalog, query)
    if query.diverse is not None:
        found = _diversified(vectors, found, query.limit, query.diverse)
    return {i: _ranked(i, neighbors[: query.limit], query) for i, neighbors in found.items()}


def _candidates(product_ids: Sequence[str], ask: Ask, catalog: Catalog, query: Query) -> Candidates:
    wanted, asked = list(product_ids), query.width + 1
    found: Candidates = {}
    while wanted:
        replies = ask(wanted, asked)
        others = {i: [n for n in reply if n.product_id != i] for i, reply in replies.items()}
        found |= _collapsed(others, catalog, query.distinct) if query.distinct else others
        lacking = [
            i for i, reply in replies.items() if len(found[i]) < query.width and len(reply) == asked
        ]
        wanted, asked = (lacking, 4 * asked) if asked < WIDEST else ([], 0)
    return {i: neighbors[: query.width] for i, neighbors in found.items()}


def _collapsed(found: Candidates, catalog: Catalog, field: str) -> Candidates:
    """Keep of the neighbors with the same value only the closest, and all without a value."""
    states = catalog.get(list({n.product_id for neighbors in found.values() for n in neighbors}))
    values = {
        i: product.to_fields().get(field)
        for i, state in states.items()
        if (product := state.product(i))
    }

    def distinct(neighbors: list[Neighbor]) -> Iterator[Neighbor]:
        seen: set[object] = set()
        for neighbor in neighbors:
            value = values.get(neighbor.product_id)
            if value is None or value not in seen:
                seen.add(value)
                yield neighbor

    return {i: list(distinct(neighbors)) for i, neighbors in found.items()}


def _diversified(vectors: VectorStore, found: Candidates, limit: int, balance: float) -> Candidates:
    import numpy as np  # noqa: PLC0415 - most queries need none, and would wait for it

    from recsys_cli.pipeline.diversity import diversified  # noqa: PLC0415

    rows = vectors.get(list({n.product_id for neighbors in found.values() for n in neighbors}))
    chosen: Candidates = {}
    for product_id, neighbors in found.items():
        there = [n for n in neighbors if n.product_id in rows]
        if there:
            matrix = np.stack([rows[n.product_id] for n in there])
            scores = [n.similarity_score for n in there]
            there = [there[place] for place in diversified(scores, matrix, limit, balance)]
        chosen[product_id] = there
    return chosen


def _ranked(product_id: str, neighbors: list[Neighbor], query: Query) -> Similar:
    threshold = query.strong if query.min_score is None else query.min_score
    scores = [round(n.similarity_score, SCORE_DECIMALS) for n in neighbors]
    ranked = [
        RankedNeighbor(
            product_id=n.product_id,
            similarity_score=score,
            category=n.category,
            name=n.name,
            price=n.price,
            embedding_updated_at=n.embedding_updated_at,
            strong=score >= threshold,
        )
        for n, score in zip(neighbors, scores, strict=True)
    ]
    shown = ranked if query.min_score is None else [n for n in ranked if n.strong]
    return Similar(product_id, shown, len(ranked) - len(shown))
