"""How an embedding is kept as a record of Pinecone, and what a filter is there.

The metadata: ``id`` (the product's own), ``name``, ``category``, ``price`` (absent where there is
none), ``updated_at``, ``position``, ``model_version``, ``text_digest``, and ``attribute_NAME`` of
each attribute of the index. Together they have at most 40,000 bytes, as Pinecone wants it: name and
category are cut, and the longest attributes left out, so that one product fails no batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from recsys_cli.connections.pinecone import Record, key_of
from recsys_cli.domain import (
    BEGINNING,
    Neighbor,
    Position,
    ProductMetadata,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.ports import Embedding, Vector

_LONGEST_TEXT = 2000
_MOST_BYTES = 40_000
"""Of the metadata of a record as JSON. Pinecone's limit is 40 KB, counted its own way."""

_ATTRIBUTE = "attribute_"


def record(embedding: Embedding, vector: Sequence[float]) -> Record:
    """Return the record, with as much of the metadata as Pinecone takes."""
    shown, source = embedding.metadata, embedding.source
    metadata: dict[str, Any] = {
        "id": embedding.product_id,
        "name": shown.name[:_LONGEST_TEXT],
        "category": shown.category[:_LONGEST_TEXT],
        "updated_at": embedding.updated_at,
        "position": str(source.position),
        "model_version": source.model_version,
        "text_digest": source.text_digest,
        **{_ATTRIBUTE + name: value for name, value in shown.attributes.items()},
    }
    if shown.price is not None:
        metadata["price"] = float(shown.price)
    return Record(key_of(embedding.product_id), vector, _fitted(metadata))


def _fitted(metadata: dict[str, Any]) -> dict[str, Any]:
    """Leave out the longest attribute until the rest is small enough."""
    while len(msgspec.json.encode(metadata)) > _MOST_BYTES:
        attributes = [name for name in metadata if name.startswith(_ATTRIBUTE)]
        longest = max(attributes, key=lambda name: len(metadata[name].encode()))
        metadata = {name: value for name, value in metadata.items() if name != longest}
    return metadata


def embedding(found: Record, attributes: Sequence[str]) -> Embedding:
    """Return what the record holds, whoever wrote it."""
    return Embedding(
        product_id(found),
        vector(found),
        ProductMetadata(
            name=_text(found.metadata, "name"),
            category=_text(found.metadata, "category"),
            price=price(found.metadata),
            attributes={
                name: _text(found.metadata, _ATTRIBUTE + name)
                for name in attributes
                if _ATTRIBUTE + name in found.metadata
            },
        ),
        source(found),
        _text(found.metadata, "updated_at"),
    )


def vector(found: Record) -> Vector:
    import numpy as np  # noqa: PLC0415 - similar does without

    return np.asarray(found.values, dtype=np.float32)


def product_id(found: Record) -> str:
    return _text(found.metadata, "id") or found.key


def source(found: Record) -> StoredEmbedding:
    return StoredEmbedding(
        position=position(found),
        model_version=_text(found.metadata, "model_version"),
        text_digest=_text(found.metadata, "text_digest"),
    )


def position(found: Record) -> Position:
    """Return the position; what is none is older than everything."""
    try:
        return Position.parse(_text(found.metadata, "position"))
    except ValueError:
        return BEGINNING


def price(metadata: Mapping[str, Any]) -> float | None:
    found = metadata.get("price")
    return float(found) if isinstance(found, int | float) else None


def neighbor(found: Record) -> Neighbor:
    return Neighbor(
        product_id=product_id(found),
        similarity_score=min(1.0, max(-1.0, found.score)),
        category=_text(found.metadata, "category"),
        name=_text(found.metadata, "name"),
        price=price(found.metadata),
        embedding_updated_at=_text(found.metadata, "updated_at"),
    )


def conditions(where: SearchFilter | None) -> dict[str, Any] | None:
    """Return the filter in Pinecone's language, None where everything passes.

    Each record has a category, if only "": of one without, no document says whether $nin passes it.
    """
    if where is None:
        return None
    every: list[dict[str, Any]] = []
    if where.category is not None:
        every.append({"category": {"$eq": where.category[:_LONGEST_TEXT]}})
    if where.exclude_categories:
        excluded = [category[:_LONGEST_TEXT] for category in where.exclude_categories]
        every.append({"category": {"$nin": excluded}})
    if where.price_min is not None:
        every.append({"price": {"$gte": float(where.price_min)}})
    if where.price_max is not None:
        every.append({"price": {"$lte": float(where.price_max)}})
    for name, wanted in where.attributes.items():
        every.append({_ATTRIBUTE + name: {"$in": list(wanted)}})
    return {"$and": every} if every else None


def _text(metadata: Mapping[str, Any], name: str) -> str:
    found = metadata.get(name, "")
    return found if isinstance(found, str) else ""
