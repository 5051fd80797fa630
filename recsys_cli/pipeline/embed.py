"""Make the vector store agree with the catalog, for a few products.

Write, then look again. The catalog is the authority: after the embeddings of some states are
written, the states are read once more, and those that changed meanwhile are done again. So whoever
writes last, a slow consumer or a fast one, has seen the newest state; a consumer killed in between
has not acknowledged, and its events come again. Which generations are to be written to is looked
at again in the same way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from recsys_cli.domain import (
    Position,
    Product,
    ProductMetadata,
    StoredEmbedding,
    utc_now,
)
from recsys_cli.errors import BackendRefused, RecsysError
from recsys_cli.generations import Generation, GenerationState
from recsys_cli.merge import ProductState
from recsys_cli.ports import Catalog, Embedding, EmbeddingModel, VectorStore


@dataclass
class EmbedCounts:
    """Products embedded, only their metadata refreshed, removed; ``wordless``: zero vectors."""

    embedded: int = 0
    refreshed: int = 0
    removed: int = 0
    wordless: int = 0

    def add(self, other: EmbedCounts) -> None:
        self.embedded += other.embedded
        self.refreshed += other.refreshed
        self.removed += other.removed
        self.wordless += other.wordless


class Target(NamedTuple):
    """A generation to write to, and the model whose vectors it holds."""

    generation: Generation
    vectors: VectorStore
    model: EmbeddingModel


class Begun(NamedTuple):
    """States whose embeddings are on their way to the vector stores of ``targets``.

    ``counts``: of the target that serves. Each of ``waits`` is to be called once.
    """

    states: Mapping[str, ProductState]
    targets: Sequence[Target]
    counts: EmbedCounts
    waits: list[Callable[[], object]]

    def arrive(self) -> None:
        """Wait until the embeddings are stored. Raises the first error."""
        try:
            while self.waits:
                self.waits.pop()()
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Wait for the end, whatever it is."""
        while self.waits:
            with contextlib.suppress(RecsysError):
                self.waits.pop()()


def embed_states(
    states: Mapping[str, ProductState],
    catalog: Catalog,
    followed: Sequence[Target],
    look_again: Callable[[], Sequence[Target]],
) -> EmbedCounts:
    """Bring the embeddings of these products up to the catalog's newest state, in all targets."""
    return finish(begin(states, followed), catalog, look_again)


def begin(states: Mapping[str, ProductState], followed: Sequence[Target]) -> Begun:
    """Embed the products as these states say, and begin to store what comes out."""
    begun = Begun(states, followed, EmbedCounts(), [])
    try:
        for target in followed if states else ():
            serves = target.generation.state is GenerationState.SERVING
            begun.waits.append(
                _begin_store(states, target, begun.counts if serves else EmbedCounts())
            )
    except BaseException:
        begun.abandon()
        raise
    return begun


def finish(
    begun: Begun, catalog: Catalog, look_again: Callable[[], Sequence[Target]]
) -> EmbedCounts:
    """Wait for what was begun, look again, and do the states once more that changed meanwhile.

    A generation that is begun after the last time we ``look_again`` is filled from a catalog that
    has these states already, so none is left out. Counted is what the serving one got.
    """
    counts = EmbedCounts()
    while begun.states:
        begun.arrive()
        counts.add(begun.counts)
        changed = catalog.changed(begun.states)
        if flushed := {i: begun.states[i] for i, state in changed.items() if state is None}:
            # What we hold is all that is left of them.
            changed |= catalog.merge(flushed)
        newest = {i: changed.get(i) or state for i, state in begun.states.items()}
        followed = look_again()
        _clear_dropped(begun.targets, followed)
        known = {t.generation.number for t in begun.targets}
        if {t.generation.number for t in followed} <= known:
            newest = {i: newest[i] for i in changed if newest[i] != begun.states[i]}
        begun = begin(newest, followed)
    return counts


def _clear_dropped(before: Sequence[Target], now: Sequence[Target]) -> None:
    """Leave nothing in a generation that was dropped while it was written to."""
    left = {target.generation.number for target in now}
    for target in before:
        if target.generation.number not in left and target.vectors.dimension() is None:
            # Who may not drop it need not: where it is still there, the next run sees to it.
            with contextlib.suppress(BackendRefused):
                target.vectors.drop_index(embeddings=True)


def _begin_store(
    states: Mapping[str, ProductState], target: Target, counts: EmbedCounts
) -> Callable[[], object]:
    products = [p for product_id, state in states.items() if (p := state.product(product_id))]
    positions = {product_id: state.position for product_id, state in states.items()}
    entries = _entries(products, positions, target, counts)
    kept = {entry.product_id for entry in entries}
    gone = {product_id: at for product_id, at in positions.items() if product_id not in kept}
    if gone:
        target.vectors.remove(gone)
    counts.removed += len(gone)
    return target.vectors.begin_write(entries)


def _entries(
    products: list[Product],
    positions: Mapping[str, Position],
    target: Target,
    counts: EmbedCounts,
) -> list[Embedding]:
    model, names = target.model, target.generation.spec.attributes
    stored = _dependable(target.vectors, [product.id for product in products])
    now = utc_now()
    fresh: list[Embedding] = []
    stale: list[tuple[Product, StoredEmbedding]] = []
    for product in products:
        source = StoredEmbedding(
            position=positions[product.id],
            model_version=model.version,
            text_digest=model.text_digest(product),
        )
        if _same_text(stored.get(product.id), source):
            fresh.append(Embedding(product.id, None, metadata_of(product, names), source, now))
        else:
            stale.append((product, source))
    counts.refreshed += len(fresh)
    if not stale:
        return fresh
    matrix = model.embed([product for product, _ in stale])
    for (product, source), vector in zip(stale, matrix, strict=True):
        if vector.any():
            fresh.append(Embedding(product.id, vector, metadata_of(product, names), source, now))
            counts.embedded += 1
        else:
            counts.wordless += 1
    return fresh


def _dependable(vectors: VectorStore, product_ids: Sequence[str]) -> dict[str, StoredEmbedding]:
    """Return what is stored, as far as a write may build upon it.

    Where reads may show what is no longer there, each write is whole: the metadata of now beside a
    vector of earlier would stay.
    """
    return {} if vectors.is_eventually_consistent else vectors.stored(product_ids)


def _same_text(stored: StoredEmbedding | None, wanted: StoredEmbedding) -> bool:
    return (
        stored is not None
        and stored.model_version == wanted.model_version
        and stored.text_digest == wanted.text_digest
    )


def metadata_of(product: Product, attributes: Sequence[str]) -> ProductMetadata:
    """Return what is kept beside the vector; of the ``attributes`` those that it has."""
    return ProductMetadata(
        name=product.name,
        category=product.category,
        price=product.price,
        attributes={n: v for n in attributes if (v := product.attributes.get(n)) is not None},
    )
