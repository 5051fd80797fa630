"""The vector store on Redis: one hash per product and RediSearch's HNSW over them.

The hash ``product:embedding:{id}`` holds ``vector`` (little-endian float32), ``category``,
``name``, ``price`` (absent where there is none), ``updated_at``, and of what it was computed
``position``, ``model_version`` and ``text_digest``; later generations have keys of their own (see
``redis_index.py``). Scripts write it, so that of two writers the newer one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from recsys_cli.connections.redis import (
    Command,
    ErrorReply,
    LuaScript,
    RedisConnection,
    flat,
    pairs,
)
from recsys_cli.domain import (
    BEGINNING,
    Health,
    IndexInfo,
    IndexSpec,
    Neighbor,
    Position,
    ProductMetadata,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.errors import IndexMissing, InvalidData
from recsys_cli.generations import FIRST
from recsys_cli.ports import Embedding, Vector
from recsys_cli.vectors import redis_query
from recsys_cli.vectors.checks import checked
from recsys_cli.vectors.redis_index import RedisIndex, is_missing, key_prefix
from recsys_cli.vectors.redis_query import LARGEST_LIMIT, Search, attribute_field
from recsys_cli.vectors.ties import SPARE, closest

_FLOAT32 = "<f4"
_FLOAT32_BYTES = 4
_SOURCE = (b"position", b"model_version", b"text_digest")
_HERE = Path(__file__).parent
_ORDER = _HERE / "redis_hnsw_order.lua"
_write = LuaScript(_ORDER, _HERE / "redis_hnsw_write.lua")
_remove = LuaScript(_ORDER, _HERE / "redis_hnsw_remove.lua")


class RedisHnsw:
    """See ports.VectorStore: one generation of the index, with vectors of ``dimension``.

    ``ef_runtime``: candidates that a search keeps, None for what the index was made with.
    ``attributes``: those that can be filtered by, in the order of the index's schema.
    """

    is_eventually_consistent: ClassVar[bool] = False
    can_search_exactly: ClassVar[bool] = True
    can_tell_unindexed: ClassVar[bool] = True

    def __init__(
        self,
        connection: RedisConnection,
        *,
        index: str,
        dimension: int,
        generation: int = FIRST,
        ef_runtime: int | None = None,
        attributes: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self._attributes = attributes
        self._ef = ef_runtime
        self._dimension = dimension
        self._index = RedisIndex(connection, index, generation)
        self._prefix = key_prefix(generation)

    def create_index(self, spec: IndexSpec) -> bool:
        return self._index.create(spec)

    def drop_index(self, *, embeddings: bool) -> bool:
        dropped = self._index.drop()
        if embeddings:
            self._delete_all()
        return dropped

    def dimension(self) -> int | None:
        return self._index.dimension()

    def info(self) -> IndexInfo | None:
        return self._index.info()

    def stored(self, product_ids: Sequence[str]) -> dict[str, StoredEmbedding]:
        found = self._read(product_ids, "updated_at", *map(bytes.decode, _SOURCE))
        return {
            product_id: _source(*source)
            for product_id, (updated_at, *source) in found.items()
            if updated_at is not None
        }

    def write(self, embeddings: Sequence[Embedding]) -> None:
        self.begin_write(embeddings)()

    def begin_write(self, embeddings: Sequence[Embedding]) -> Callable[[], object]:
        return self._connection.begin_run(
            _write, [((self._key(e.product_id),), self._arguments(e)) for e in embeddings]
        )

    def remove(self, positions: Mapping[str, Position]) -> None:
        self._connection.run(
            _remove, [((self._key(i),), (str(at),)) for i, at in positions.items()]
        )

    def get(self, product_ids: Sequence[str]) -> dict[str, Vector]:
        return {i: _numbers(raw) for i, raw in self._raw_vectors(product_ids).items()}

    def unindexed(self, product_ids: Sequence[str]) -> list[str]:
        keys = [self._key(product_id) for product_id in product_ids]
        if not keys:
            return []
        command = redis_query.among(self._index.searched_name, keys)
        _, *found = self._connection.call(*command)
        indexed = set(map(redis_query.text, found))
        return [i for i, key in zip(product_ids, keys, strict=True) if key not in indexed]

    def entries(self) -> Iterator[list[Embedding]]:
        for keys in self._connection.scan(self._prefix):
            replies = self._connection.pipeline(("HGETALL", key) for key in keys)
            found = zip(keys, map(pairs, replies), strict=True)
            if page := [self._entry(key, fields) for key, fields in found if b"vector" in fields]:
                yield page

    def search(
        self, vector: Vector, limit: int, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        return self.search_many([vector], limit, where)[0]

    def search_many(
        self,
        queries: Sequence[Vector],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[list[Neighbor]]:
        vectors = [self._bytes(vector, "the query") for vector in queries]
        return self._closest(vectors, limit, self._search(where, ef, exact=exact))

    def neighbors(
        self,
        product_ids: Sequence[str],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,
        exact: bool = False,
    ) -> dict[str, list[Neighbor]]:
        vectors = self._raw_vectors(product_ids)
        found = self._closest(list(vectors.values()), limit, self._search(where, ef, exact=exact))
        return dict(zip(vectors, found, strict=True))

    def health(self) -> Health:
        health = self._connection.health("vectors")
        # Says so where the search module is missing, or may not be used.
        self._index.exists()
        return health

    def close(self) -> None:
        self._connection.close()

    def _search(self, where: SearchFilter | None, ef: int | None, *, exact: bool) -> Search:
        candidates = self._ef if ef is None else ef
        return Search(where or SearchFilter(), self._attributes, candidates, exact)

    def _closest(self, vectors: list[bytes], limit: int, how: Search) -> list[list[Neighbor]]:
        if limit < 1:
            return [[] for _ in vectors]
        limit = min(limit, LARGEST_LIMIT - SPARE)

        def nearest(numbers: Sequence[int], count: int) -> dict[int, list[Neighbor]]:
            answers = self._nearest([vectors[n] for n in numbers], count, how)
            return dict(zip(numbers, answers, strict=True))

        found = closest(range(len(vectors)), limit, nearest)
        return [how.right(found[n])[:limit] for n in range(len(vectors))]

    def _nearest(self, vectors: list[bytes], limit: int, how: Search) -> list[list[Neighbor]]:
        name = self._index.searched_name
        try:
            replies = self._connection.pipeline(
                redis_query.knn(name, vector, limit, how) for vector in vectors
            )
        except ErrorReply as error:
            if not is_missing(error):
                raise
            if self._index.look_again():
                return self._nearest(vectors, limit, how)
            raise IndexMissing(
                f"there is no index {self._index.name!r}", hint="recsys index create"
            ) from error
        return [redis_query.neighbors(reply, self._prefix) for reply in replies]

    def _read(self, product_ids: Sequence[str], *names: str) -> dict[str, list[bytes | None]]:
        replies = self._connection.pipeline(("HMGET", self._key(i), *names) for i in product_ids)
        return dict(zip(product_ids, replies, strict=True))

    def _key(self, product_id: str) -> str:
        return self._prefix + product_id

    def _delete_all(self) -> None:
        # Not FT.DROPINDEX DD: it stops the server for as long, and leaves what was not indexed.
        for keys in self._connection.scan(self._prefix):
            self._connection.pipeline(("UNLINK", key) for key in keys)

    def _entry(self, key: bytes, fields: Mapping[bytes, bytes]) -> Embedding:
        texts = {name: redis_query.text(value) for name, value in fields.items()}
        raw = fields[b"vector"]
        return Embedding(
            redis_query.text(key).removeprefix(self._prefix),
            _numbers(raw[: len(raw) // _FLOAT32_BYTES * _FLOAT32_BYTES]),
            ProductMetadata(
                name=texts.get(b"name", ""),
                category=texts.get(b"category", ""),
                price=redis_query.price(fields),
                attributes={
                    n: texts[f]
                    for n in self._attributes
                    if (f := attribute_field(n).encode()) in texts
                },
            ),
            _source(*(fields.get(name) for name in _SOURCE)),
            texts.get(b"updated_at", ""),
        )

    def _raw_vectors(self, product_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the vectors of those products that have one, as they are stored."""
        found = self._read(product_ids, "vector")
        return {i: self._intact(i, raw) for i, (raw,) in found.items() if raw is not None}

    def _intact(self, product_id: str, raw: bytes) -> bytes:
        if len(raw) == self._dimension * _FLOAT32_BYTES:
            # The highest byte of infinity, NaN, and nothing near to a unit vector's numbers.
            highest = raw[_FLOAT32_BYTES - 1 :: _FLOAT32_BYTES]
            if b"\x7f" not in highest and b"\xff" not in highest:
                return raw
        raise InvalidData(
            f"the vector of product {product_id!r} is not one of {self._dimension} finite numbers"
            f" ({len(raw)} bytes)",
            hint="check VECTOR_DIMENSION; or recsys doctor --fix, then recsys consume --drain",
        )

    def _bytes(self, vector: Vector, whose: str) -> bytes:
        return checked(vector, self._dimension, whose).tobytes()

    def _arguments(self, embedding: Embedding) -> Command:
        """Return what redis_hnsw_write.lua takes."""
        metadata, source = embedding.metadata, embedding.source
        vector = b""
        computed_from: Command = ()
        if embedding.vector is not None:
            vector = self._bytes(embedding.vector, f"the vector of {embedding.product_id!r}")
            computed_from = (
                *("model_version", source.model_version),
                *("text_digest", source.text_digest),
            )
        fields = {"category": metadata.category, "name": metadata.name}
        absent = []
        if metadata.price is None:
            absent.append("price")
        else:
            fields["price"] = repr(float(metadata.price))
        for name in self._attributes:
            if name in metadata.attributes:
                fields[attribute_field(name)] = metadata.attributes[name]
            else:
                absent.append(attribute_field(name))
        fields["updated_at"] = embedding.updated_at
        return (
            *(str(source.position), vector, len(absent)),
            *absent,
            *flat(fields),
            *computed_from,
        )


def _numbers(raw: bytes) -> Vector:
    import numpy as np  # noqa: PLC0415 - similar does without, which starts twice as fast

    return np.frombuffer(raw, _FLOAT32)


def _source(position: bytes | None, model: bytes | None, digest: bytes | None) -> StoredEmbedding:
    """Return what a hash says of its vector; one that another program wrote may say nothing."""
    return StoredEmbedding(
        position=_position(position or b""),
        model_version=(model or b"").decode(errors="replace"),
        text_digest=(digest or b"").decode(errors="replace"),
    )


def _position(raw: bytes) -> Position:
    """Return the position; what is none is older than everything, as for the scripts."""
    try:
        return Position.parse(raw.decode("ascii"))
    except ValueError:
        return BEGINNING
