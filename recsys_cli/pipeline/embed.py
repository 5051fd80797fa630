"""Make the vector store agree with the catalog, for a few products.

Write, then look again. The catalog is the authority: after the embeddings of some states are
written, the states are read once more, and those that changed meanwhile are done again. So whoever
writes last, a slow consumer or a fast one, has seen the newest state; a consumer killed in between
has not acknowledged, and its events come again. Which generations are to be written to is looked
at again in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from recsys_cli.domain import (
    Position,
    Product,
    ProductMetadata,
    StoredEmbedding,
    utc_now,
)
from recsys_cli.generations import Generation, GenerationState
from recsys_cli.merge import ProductState
from recsys_cli.ports import Catalog, Embedding, EmbeddingModel, VectorStore


@dataclass
class EmbedCounts:
    """Products embedded, only their metadata refreshed, removed; ``wordless``: zero vectors."""

    embedded: int = 0
    refreshed: int = 0
    removed: int = 0
    wordless: list[str] = field(default_factory=list)


class Target(NamedTuple):
    """A generation to write to, and the model whose vectors it holds."""

    generation: Generation
    vectors: VectorStore
    model: EmbeddingModel


def embed_states(
    states: Mapping[str, ProductState],
    catalog: Catalog,
    followed: Sequence[Target],
    look_again: Callable[[], Sequence[Target]],
) -> EmbedCounts:
    """Bring the embeddings of these products up to the catalog's newest state, in all targets.

    A generation that is begun after the last time we ``look_again`` is filled from a catalog that
    has these states already, so none is left out. Counted is what the serving one got.
    """
    counts = EmbedCounts()
    while states:
        for target in followed:
            serves = target.generation.state is GenerationState.SERVING
            _store(states, target, counts if serves else EmbedCounts())
        newest = catalog.get(list(states))
        if flushed := {i: state for i, state in states.items() if i not in newest}:
            # What we hold is all that is left of them.
            newest |= catalog.merge(flushed)
        before, followed = followed, look_again()
        _clear_dropped(before, followed)
        if {t.generation.number for t in followed} <= {t.generation.number for t in before}:
            states = {i: newest[i] for i, state in states.items() if newest[i] != state}
        else:
            states = newest
    return counts


def _clear_dropped(before: Sequence[Target], now: Sequence[Target]) -> None:
    """Leave nothing in a generation that was dropped while it was written to."""
    left = {target.generation.number for target in now}
    for target in before:
        if target.generation.number not in left and target.vectors.info() is None:
            target.vectors.drop_index(embeddings=True)


def _store(states: Mapping[str, ProductState], target: Target, counts: EmbedCounts) -> None:
    products = [p for product_id, state in states.items() if (p := state.product(product_id))]
    positions = {product_id: state.position for product_id, state in states.items()}
    entries = _entries(products, positions, target, counts)
    kept = {entry.product_id for entry in entries}
    gone = {product_id: at for product_id, at in positions.items() if product_id not in kept}
    if entries:
        target.vectors.write(entries)
    if gone:
        target.vectors.remove(gone)
    counts.removed += len(gone)


def _entries(
    products: list[Product],
    positions: Mapping[str, Position],
    target: Target,
    counts: EmbedCounts,
) -> list[Embedding]:
    model, names = target.model, target.generation.spec.attributes
    stored = target.vectors.stored([product.id for product in products])
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
            counts.wordless.append(product.id)
    return fresh


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
