"""A row of the table ``embeddings``, which says which product is in which slot of the blocks."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from recsys_cli.domain import Position, ProductMetadata, StoredEmbedding
from recsys_cli.ports import Embedding, Vector


class Row(NamedTuple):
    """A product's row of the table ``embeddings``."""

    slot: int
    product_id: str
    name: str
    category: str
    price: float | None
    updated_at: str
    major: int
    minor: int
    model_version: str
    text_digest: str
    attributes: str

    @property
    def position(self) -> Position:
        return Position(self.major, self.minor)

    def updated(self, embedding: Embedding) -> Row:
        """Return the row with new metadata; what the vector was computed from stays."""
        new = row_of(self.slot, embedding)
        return new._replace(model_version=self.model_version, text_digest=self.text_digest)


def row_of(slot: int, embedding: Embedding) -> Row:
    """Return the row that the embedding has in this slot."""
    metadata, source = embedding.metadata, embedding.source
    return Row(
        slot=slot,
        product_id=embedding.product_id,
        name=metadata.name,
        category=metadata.category,
        price=metadata.price,
        updated_at=embedding.updated_at,
        major=source.position.major,
        minor=source.position.minor,
        model_version=source.model_version,
        text_digest=source.text_digest,
        attributes=msgspec.json.encode(metadata.attributes).decode(),
    )


def entry(row: Row, vector: Vector) -> Embedding:
    """Return what was written."""
    return Embedding(
        row.product_id,
        vector,
        ProductMetadata(
            name=row.name,
            category=row.category,
            price=row.price,
            attributes=msgspec.json.decode(row.attributes, type=dict[str, str]),
        ),
        StoredEmbedding(
            position=row.position, model_version=row.model_version, text_digest=row.text_digest
        ),
        row.updated_at,
    )
