"""The vector store on Redis: one hash per product and RediSearch's HNSW over them.

The hash ``product:embedding:{id}`` holds ``vector`` (little-endian float32), ``category``,
``name``, ``price`` (absent where there is none), ``updated_at``, and of what it was computed
``position``, ``model_version`` and ``text_digest``. Scripts write it, so that of two writers the
newer one wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recsys_cli.connections.redis import (
    Argument,
    ErrorReply,
    LuaScript,
    RedisConnection,
    Reply,
)
from recsys_cli.domain import (
    BEGINNING,
    Health,
    IndexInfo,
    IndexSpec,
    Neighbor,
    Position,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.errors import IndexMissing
from recsys_cli.ports import Embedding, Vector
from recsys_cli.vectors import redis_query
from recsys_cli.vectors.redis_index import RedisIndex, is_missing
from recsys_cli.vectors.redis_query import LARGEST_LIMIT, PREFIX

FLOAT32 = np.dtype("<f4")

_SCAN_COUNT = 1000
_LARGEST_TIE = 1000
_HERE = Path(__file__).parent
_ORDER = _HERE / "redis_hnsw_order.lua"
_write = LuaScript(_ORDER, _HERE / "redis_hnsw_write.lua")
_remove = LuaScript(_ORDER, _HERE / "redis_hnsw_remove.lua")


class RedisHnsw:
    """See ports.VectorStore. ``index`` is the name to search under, ``dimension`` a vector's."""

    def __init__(self, connection: RedisConnection, *, index: str, dimension: int) -> None:
        self._connection = connection
        self._name = index
        self._dimension = dimension
        self._index = RedisIndex(connection, index)

    def create_index(self, spec: IndexSpec) -> bool:
        return self._index.create(spec)

    def drop_index(self, *, embeddings: bool) -> bool:
        dropped = self._index.drop()
        if embeddings:
            self._delete_all()
        return dropped

    def info(self) -> IndexInfo | None:
        return self._index.info()

    def stored(self, product_ids: Sequence[str]) -> dict[str, StoredEmbedding]:
        wanted = ("position", "model_version", "text_digest", "updated_at")
        return {
            product_id: _source(values)
            for product_id, values in self._read(product_ids, *wanted).items()
            if any(value is not None for value in values)
        }

    def write(self, embeddings: Sequence[Embedding]) -> None:
        vectors = [self._checked(embedding) for embedding in embeddings]
        self._connection.run(
            _write,
            [
                (PREFIX + embedding.product_id, _arguments(embedding, vector))
                for embedding, vector in zip(embeddings, vectors, strict=True)
            ],
        )

    def remove(self, positions: Mapping[str, Position]) -> None:
        self._connection.run(_remove, [(PREFIX + i, (str(at),)) for i, at in positions.items()])

    def get(self, product_ids: Sequence[str]) -> dict[str, Vector]:
        return {
            product_id: np.frombuffer(values[0], FLOAT32)
            for product_id, values in self._read(product_ids, "vector").items()
            if values[0] is not None
        }

    def search(
        self, vector: Vector, limit: int, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        if limit < 1:
            return []
        limit = min(limit, LARGEST_LIMIT)
        where = where or SearchFilter()
        asked = min(limit + 1, LARGEST_LIMIT)
        while True:
            found = self._knn(vector, asked, where)
            if len(found) < asked or asked >= LARGEST_LIMIT or not _is_cut_tie(found, limit):
                break
            # More of the same score than were asked for: among them the ids decide.
            asked = min(asked + _LARGEST_TIE, LARGEST_LIMIT)
        return found[:limit]

    def health(self) -> Health:
        health = self._connection.health("vectors")
        # Says what is missing, where the module is.
        self._connection.call("FT._LIST")
        return health

    def close(self) -> None:
        self._connection.close()

    def _knn(self, vector: Vector, limit: int, where: SearchFilter) -> list[Neighbor]:
        command = redis_query.knn(self._name, vector.astype(FLOAT32).tobytes(), limit, where)
        try:
            found = redis_query.neighbors(self._connection.call(*command))
        except ErrorReply as error:
            if is_missing(error):
                raise IndexMissing(
                    f"there is no index {self._name!r}", hint="recsys index create"
                ) from error
            raise
        if where.category is None:
            return found
        return [neighbor for neighbor in found if neighbor.category == where.category]

    def _read(self, product_ids: Sequence[str], *fields: str) -> dict[str, list[Reply]]:
        replies = self._connection.pipeline(
            ("HMGET", PREFIX + product_id, *fields) for product_id in product_ids
        )
        return dict(zip(product_ids, replies, strict=True))

    def _checked(self, embedding: Embedding) -> bytes:
        """Return the vector's bytes, none where there is no vector. Raises ValueError."""
        vector = embedding.vector
        if vector is None:
            return b""
        if vector.shape != (self._dimension,) or not np.isfinite(vector).all():
            raise ValueError(
                f"the embedding of {embedding.product_id!r} is not a vector of {self._dimension} "
                "finite numbers"
            )
        return vector.astype(FLOAT32).tobytes()

    def _delete_all(self) -> None:
        cursor = b"0"
        while True:
            cursor, keys = self._connection.call(
                "SCAN", cursor, "MATCH", f"{PREFIX}*", "COUNT", _SCAN_COUNT
            )
            self._connection.pipeline(("UNLINK", key) for key in keys)
            if cursor == b"0":
                return


def _source(values: Sequence[Reply]) -> StoredEmbedding:
    position, version, digest, _ = (b"" if value is None else value for value in values)
    return StoredEmbedding(
        position=Position.parse(position.decode()) if position else BEGINNING,
        model_version=version.decode(),
        text_digest=digest.decode(),
    )


def _arguments(embedding: Embedding, vector: bytes) -> Sequence[Argument]:
    metadata, source = embedding.metadata, embedding.source
    return (
        str(source.position),
        vector,
        "" if metadata.price is None else repr(metadata.price),
        *("category", metadata.category, "name", metadata.name),
        *("updated_at", embedding.updated_at, "model_version", source.model_version),
        *("text_digest", source.text_digest),
    )


def _is_cut_tie(found: Sequence[Neighbor], limit: int) -> bool:
    """Whether the last that was asked for and the first that was not have the same score."""
    return redis_query.rounded(found[limit - 1]) == redis_query.rounded(found[-1])
