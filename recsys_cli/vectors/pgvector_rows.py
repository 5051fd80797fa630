"""A row of the table of a generation: an embedding, as it is written and as it comes back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from recsys_cli.domain import Position, ProductMetadata, StoredEmbedding
from recsys_cli.ports import Embedding
from recsys_cli.vectors.pgvector_table import numbers, received

_decode = msgspec.json.Decoder(dict[str, Any]).decode

# Where "row" is NULL there is no new vector. All rows are locked before any is written.
WRITE = """
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(
            %(ids)s::text[], %(names)s::text[], %(categories)s::text[], %(prices)s::float8[],
            %(attributes)s::text[], %(updated)s::text[], %(majors)s::bigint[],
            %(minors)s::bigint[], %(models)s::text[], %(digests)s::text[], %(rows)s::int[])
        AS g(product_id, name, category, price, attributes, updated_at, major, minor,
             model_version, text_digest, row)),
    locked AS MATERIALIZED (
        SELECT product_id FROM {schema}.{table} WHERE product_id = ANY(%(ids)s)
        ORDER BY product_id FOR UPDATE),
    refreshed AS (
        UPDATE {schema}.{table} AS t SET
            name = g.name, category = g.category, price = g.price,
            attributes = g.attributes::jsonb, updated_at = g.updated_at,
            position_major = g.major, position_minor = g.minor
        FROM given AS g JOIN locked AS l ON l.product_id = g.product_id
        WHERE t.product_id = g.product_id AND g.row IS NULL
          AND (t.position_major, t.position_minor) <= (g.major, g.minor))
    INSERT INTO {schema}.{table} AS t (
        product_id, vector, name, category, price, attributes, updated_at,
        position_major, position_minor, model_version, text_digest)
    SELECT product_id,
           (%(vectors)s)[row * {dimension} + 1 : (row + 1) * {dimension}]::{extension}.vector,
           name, category, price, attributes::jsonb, updated_at,
           major, minor, model_version, text_digest
    FROM given WHERE row IS NOT NULL AND (SELECT count(*) FROM locked) >= 0
    ORDER BY product_id
    ON CONFLICT (product_id) DO UPDATE SET
        vector = excluded.vector, name = excluded.name, category = excluded.category,
        price = excluded.price, attributes = excluded.attributes,
        updated_at = excluded.updated_at, position_major = excluded.position_major,
        position_minor = excluded.position_minor, model_version = excluded.model_version,
        text_digest = excluded.text_digest
    WHERE (t.position_major, t.position_minor)
       <= (excluded.position_major, excluded.position_minor)"""


def rounds(embeddings: Sequence[Embedding]) -> list[list[Embedding]]:
    """Return them in parts, in order, so that no part has a product twice."""
    rounds: list[dict[str, Embedding]] = []
    for embedding in embeddings:
        for some in rounds:
            if embedding.product_id not in some:
                some[embedding.product_id] = embedding
                break
        else:
            rounds.append({embedding.product_id: embedding})
    return [list(some.values()) for some in rounds]


def columns(embeddings: Sequence[Embedding]) -> dict[str, object]:
    """Return what WRITE takes."""
    vectors = [e.vector for e in embeddings if e.vector is not None]
    places = itertools.count()
    metadata = [e.metadata for e in embeddings]
    sources = [e.source for e in embeddings]
    return {
        "ids": [e.product_id for e in embeddings],
        "names": [m.name for m in metadata],
        "categories": [m.category for m in metadata],
        "prices": [m.price for m in metadata],
        "attributes": [msgspec.json.encode(m.attributes).decode() for m in metadata],
        "updated": [e.updated_at for e in embeddings],
        "majors": [s.position.major for s in sources],
        "minors": [s.position.minor for s in sources],
        "models": [s.model_version for s in sources],
        "digests": [s.text_digest for s in sources],
        "rows": [None if e.vector is None else next(places) for e in embeddings],
        "vectors": numbers(vectors),
    }


def entry(product_id: str, sent: bytes, *facts: Any) -> Embedding:
    name, category, price, attributes, updated_at, *computed_from = facts
    return Embedding(
        product_id,
        received(sent),
        ProductMetadata(
            name=name,
            category=category,
            price=price,
            attributes={n: str(v) for n, v in _decode(attributes).items()},
        ),
        source(*computed_from),
        updated_at,
    )


def source(major: int, minor: int, model_version: str, text_digest: str) -> StoredEmbedding:
    return StoredEmbedding(
        position=Position(major, minor), model_version=model_version, text_digest=text_digest
    )
