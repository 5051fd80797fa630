"""The catalog against the serving index, product by product; and what mends the differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from recsys_cli.batches import batched
from recsys_cli.domain import BEGINNING, EventType, Position, Product, ProductEvent
from recsys_cli.generations import serving
from recsys_cli.merge import ProductState
from recsys_cli.pipeline.embed import Target
from recsys_cli.pipeline.exact import is_unit
from recsys_cli.pipeline.models import artifact_of
from recsys_cli.pipeline.publish import publish_events
from recsys_cli.ports import Catalog, Embedding, EventProcessor, Generations, ModelFactory

PAGE = 500


class Ailment(StrEnum):
    """``orphan``: an embedding without a product. ``outdated``: not of what the product is now.

    ``stale model``: made by another model. ``damaged``: of the wrong size, or not of unit length.
    ``unindexed``: sound, and yet the index does not have it.
    """

    MISSING = "missing"
    ORPHAN = "orphan"
    OUTDATED = "outdated"
    STALE_MODEL = "stale model"
    DAMAGED = "damaged"
    UNINDEXED = "unindexed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``position``: of the stored embedding; the beginning, where there is none."""

    product_id: str
    ailment: Ailment
    position: Position = BEGINNING


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """``wordless``: products of which no embedding can be made, which is no ailment.

    ``waiting``: events that are not consumed yet, and may explain what was found; None: unknown.
    """

    generation: int
    products: int
    embeddings: int
    wordless: int
    waiting: int | None
    findings: list[Finding]

    def by_ailment(self) -> dict[Ailment, list[str]]:
        found: dict[Ailment, list[str]] = {ailment: [] for ailment in Ailment}
        for finding in self.findings:
            found[finding.ailment].append(finding.product_id)
        return found


class Mended(NamedTuple):
    """``removed``: embeddings that were in the way; ``published``: products to embed again."""

    removed: int = 0
    published: int = 0


class _Looked(NamedTuple):
    seen: int
    wordless: int
    findings: list[Finding]


class Doctor:
    """Examines what serves. ``mend`` changes only what was found to be ill."""

    def __init__(
        self,
        events: EventProcessor,
        catalog: Catalog,
        generations: Generations,
        models: ModelFactory,
    ) -> None:
        self._events = events
        self._catalog = catalog
        generation = serving(generations.all())
        model = models.load(artifact_of(catalog, generation))
        self._target = Target(generation, generations.store(generation), model)

    def examine(self, progress: Callable[[str], None] = lambda _: None) -> Diagnosis:
        """Compare everything, a page in memory. What was found is looked at again in the end."""
        by_products = self._products(self._catalog.products(), progress)
        by_embeddings = self._embeddings(progress)
        ill = {f.product_id for f in by_products.findings + by_embeddings.findings}
        status = self._events.status()
        return Diagnosis(
            generation=self._target.generation.number,
            products=by_products.seen,
            embeddings=by_embeddings.seen,
            wordless=by_products.wordless,
            waiting=None if status.lag is None else status.lag + status.pending,
            findings=list(self._again(ill, by_embeddings.findings)),
        )

    def mend(self, diagnosis: Diagnosis) -> Mended:
        """Remove what is in the way, and have consumers look at the products.

        The events are updates that change nothing: whatever else happens to a product at the same
        moment stands. They follow the removal, so that what it took too much comes again.
        """
        removed = published = 0
        for page in batched(diagnosis.findings, PAGE):
            ids = list(dict.fromkeys(f.product_id for f in page))
            states = self._catalog.get(ids)
            gone = {f.product_id: f.position for f in page if _is_in_the_way(f, states)}
            self._target.vectors.remove(gone)
            removed += len(gone)
            states = self._catalog.get(ids)
            events = [
                ProductEvent(type=EventType.UPDATE, product_id=i) for i in ids if _exists(i, states)
            ]
            if events:
                publish_events(self._events, self._catalog, events, known={})
            published += len(events)
        return Mended(removed, published)

    def _products(
        self, products: Iterable[Product], progress: Callable[[str], None] = lambda _: None
    ) -> _Looked:
        seen = wordless = 0
        findings: list[Finding] = []
        for page in batched(products, PAGE):
            seen += len(page)
            ids = [product.id for product in page]
            states, stored = self._catalog.get(ids), self._target.vectors.stored(ids)
            absent = [product for product in page if product.id not in stored]
            has_words = [bool(row.any()) for row in self._target.model.embed(absent)]
            wordless += has_words.count(False)
            findings += [
                Finding(product_id=product.id, ailment=Ailment.MISSING)
                for product, is_worded in zip(absent, has_words, strict=True)
                if is_worded
            ]
            for product_id, source in stored.items():
                ailment = None
                if source.model_version != self._target.model.version:
                    ailment = Ailment.STALE_MODEL
                elif product_id in states and source.position != states[product_id].position:
                    ailment = Ailment.OUTDATED
                if ailment:
                    findings.append(
                        Finding(product_id=product_id, ailment=ailment, position=source.position)
                    )
            progress(f"{seen:,} products")
        return _Looked(seen, wordless, findings)

    def _embeddings(self, progress: Callable[[str], None]) -> _Looked:
        seen = 0
        findings: list[Finding] = []
        for page in self._target.vectors.entries():
            seen += len(page)
            findings += self._of_page(page)
            progress(f"{seen:,} embeddings")
        vectors = self._target.vectors
        info = vectors.info() if vectors.can_tell_unindexed else None
        damaged = sum(f.ailment is Ailment.DAMAGED for f in findings)
        if info is not None and info.indexed < seen - damaged:
            findings += self._unindexed()
        return _Looked(seen, 0, findings)

    def _of_page(self, page: list[Embedding]) -> Iterator[Finding]:
        states = self._catalog.get([entry.product_id for entry in page])
        for entry in page:
            ailment = None
            if not _exists(entry.product_id, states):
                ailment = Ailment.ORPHAN
            elif not self._is_sound(entry):
                ailment = Ailment.DAMAGED
            if ailment:
                yield Finding(
                    product_id=entry.product_id, ailment=ailment, position=entry.source.position
                )

    def _is_sound(self, entry: Embedding) -> bool:
        row = entry.vector
        return row is not None and len(row) == self._target.model.dimension and is_unit(row)

    def _unindexed(self) -> Iterator[Finding]:
        for page in self._target.vectors.entries():
            positions = {e.product_id: e.source.position for e in page if self._is_sound(e)}
            for product_id in self._target.vectors.unindexed(list(positions)):
                yield Finding(
                    product_id=product_id,
                    ailment=Ailment.UNINDEXED,
                    position=positions[product_id],
                )

    def _again(self, ill: set[str], of_embeddings: list[Finding]) -> Iterator[Finding]:
        """Yield what is still so: an event that came in between may have explained it."""
        for ids in batched(sorted(ill), PAGE):
            states = self._catalog.get(ids)
            products = [p for i in ids if i in states and (p := states[i].product(i))]
            yield from self._products(products).findings
        for page in batched(of_embeddings, PAGE):
            ids = [finding.product_id for finding in page]
            states, stored = self._catalog.get(ids), self._target.vectors.stored(ids)
            for finding in page:
                source = stored.get(finding.product_id)
                if source is None or source.position != finding.position:
                    continue
                if _exists(finding.product_id, states) is (finding.ailment is not Ailment.ORPHAN):
                    yield finding


def _exists(product_id: str, states: Mapping[str, ProductState]) -> bool:
    return product_id in states and states[product_id].exists


def _is_in_the_way(finding: Finding, states: Mapping[str, ProductState]) -> bool:
    """Whether what is stored must go: else it would stay, or look current, to a consumer."""
    match finding.ailment:
        case Ailment.DAMAGED | Ailment.UNINDEXED:
            return True
        case Ailment.ORPHAN:
            return not _exists(finding.product_id, states)
        case _:  # newer than the catalog: another one, which is lost, has written it
            state = states.get(finding.product_id)
            return state is not None and finding.position > state.position
