"""Exact search in the embedded file: every vector is compared, so recall is 1 by construction.

The table ``embeddings`` says which product is in which slot of the blocks; both are read in one
transaction, so a writer beside a search is not seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import ClassVar, NamedTuple

import numpy as np

from recsys_cli.batches import batched
from recsys_cli.connections.sqlite import EmbeddedFile, named_queries
from recsys_cli.domain import (
    Health,
    IndexInfo,
    IndexSpec,
    Neighbor,
    Position,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.errors import IndexMismatch, IndexMissing, InvalidData
from recsys_cli.generations import FIRST
from recsys_cli.ports import Embedding, Matrix, Vector
from recsys_cli.vectors import generation_rows
from recsys_cli.vectors.checks import checked
from recsys_cli.vectors.embedded_blocks import FLOAT32, Scores, Slots, VectorBlocks, best
from recsys_cli.vectors.embedded_filters import allowed_slots
from recsys_cli.vectors.embedded_rows import Row, entry, row_of

UNIT_TOLERANCE = 0.001

_PAGE = 512
_QUERIES_AT_ONCE = 16

_SQL = named_queries(Path(__file__).with_suffix(".sql"))


class _Index(NamedTuple):
    id: int
    dimension: int
    is_created: int


class EmbeddedVectors:
    """A VectorStore in ``file``: the embeddings of ``index``, each of ``dimension`` numbers."""

    is_eventually_consistent: ClassVar[bool] = False
    can_search_exactly: ClassVar[bool] = True
    can_tell_unindexed: ClassVar[bool] = True

    def __init__(
        self, file: EmbeddedFile, *, index: str, dimension: int, generation: int = FIRST
    ) -> None:
        self._file = file
        self._alias = index
        self._number = generation
        self._name = index if generation == FIRST else f"{index}@{generation}"
        self._dimension = dimension

    def create_index(self, spec: IndexSpec) -> bool:
        with self._file.transaction() as connection:
            index = self._index(connection)
            if index is not None and index.dimension != spec.dimension:
                if index.is_created or _counted(connection, index):
                    raise self._mismatch(index, spec.dimension)
                _clear(connection, index)
            elif index is not None and index.is_created:
                self._compare(connection, spec)
                return False
            connection.execute(
                _SQL["create_index"], {"name": self._name, "dimension": spec.dimension}
            )
            generation_rows.note_spec(connection, self._alias, self._number, spec)
        return True

    def drop_index(self, *, embeddings: bool) -> bool:
        with self._file.transaction() as connection:
            index = self._index(connection)
            if index is None:
                return False
            if embeddings:
                _clear(connection, index)
            else:
                connection.execute(_SQL["close_index"], (index.id,))
        return bool(index.is_created)

    def dimension(self) -> int | None:
        with self._file.reading() as connection:
            index = self._index(connection)
        return index.dimension if index is not None and index.is_created else None

    def info(self) -> IndexInfo | None:
        with self._file.reading() as connection:
            index = self._index(connection)
            if index is None or not index.is_created:
                return None
            documents = _counted(connection, index)
            (size,) = connection.execute(_SQL["block_bytes"], (index.id,)).fetchone()
            noted = generation_rows.find(connection, self._alias, self._number)
        return IndexInfo(
            name=self._alias,
            algorithm="exact",
            dimension=index.dimension,
            documents=sum(documents.values()),
            indexed=sum(documents.values()),
            failures=0,
            memory_bytes=size,
            parameters={},
            model_versions=sorted(documents),
            attributes=list(noted.spec.attributes) if noted else [],
        )

    def stored(self, product_ids: Sequence[str]) -> dict[str, StoredEmbedding]:
        with self._file.reading() as connection:
            rows = self._rows(connection, product_ids)
        return {
            row.product_id: StoredEmbedding(
                position=row.position,
                model_version=row.model_version,
                text_digest=row.text_digest,
            )
            for row in rows.values()
        }

    def write(self, embeddings: Sequence[Embedding]) -> None:
        vectors = [_checked(embedding, self._dimension) for embedding in embeddings]
        with self._file.transaction() as connection:
            index = self._opened_index(connection)
            blocks = VectorBlocks(connection, index.id, index.dimension)
            rows = self._rows(connection, [embedding.product_id for embedding in embeddings])
            new = {e.product_id for e in embeddings if e.vector is not None} - rows.keys()
            free = iter(blocks.take_slots(len(new)))
            changed: dict[str, Row] = {}
            written: dict[int, Vector] = {}
            for embedding, vector in zip(embeddings, vectors, strict=True):
                row = rows.get(embedding.product_id)
                if row is not None and embedding.source.position < row.position:
                    continue
                if vector is not None:
                    row = row_of(next(free) if row is None else row.slot, embedding)
                    written[row.slot] = vector
                elif row is not None:
                    row = row.updated(embedding)
                else:
                    continue
                rows[row.product_id] = changed[row.product_id] = row
            connection.executemany(
                _SQL["put_embedding"], [(index.id, *row) for row in changed.values()]
            )
            blocks.write(written)

    def begin_write(self, embeddings: Sequence[Embedding]) -> Callable[[], object]:
        self.write(embeddings)
        return lambda: None

    def remove(self, positions: Mapping[str, Position]) -> None:
        with self._file.transaction() as connection:
            rows = self._rows(connection, list(positions))
            gone = [row.slot for row in rows.values() if row.position <= positions[row.product_id]]
            for query in ("free_slots", "delete_embeddings"):
                connection.execute(_SQL[query], (json.dumps(gone),))

    def get(self, product_ids: Sequence[str]) -> dict[str, Vector]:
        with self._file.reading() as connection:
            index = self._index(connection)
            if index is None:
                return {}
            blocks = VectorBlocks(connection, index.id, index.dimension)
            rows = self._rows(connection, product_ids)
            ids = {row.slot: row.product_id for row in rows.values()}
            found = dict(blocks.read(ids))
        return {ids[slot]: _intact(ids[slot], vector) for slot, vector in found.items()}

    def unindexed(self, product_ids: Sequence[str]) -> list[str]:  # noqa: ARG002 - it reads them all
        return []

    def entries(self) -> Iterator[list[Embedding]]:
        last = -1
        while True:
            with self._file.reading() as connection:
                index = self._index(connection)
                if index is None:
                    return
                names = {"index": index.id, "last": last, "limit": _PAGE}
                rows = [Row(*row) for row in connection.execute(_SQL["page"], names)]
                blocks = VectorBlocks(connection, index.id, index.dimension)
                vectors = dict(blocks.read(row.slot for row in rows))
            if not rows:
                return
            yield [entry(row, vectors[row.slot]) for row in rows]
            last = rows[-1].slot

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
        ef: int | None = None,  # noqa: ARG002 - of graphs
        exact: bool = False,  # noqa: ARG002 - it always is
    ) -> list[list[Neighbor]]:
        if limit < 1:
            return [[] for _ in queries]
        with self._file.reading(mapped=True) as connection:
            index = self._index(connection)
            if index is None or not index.is_created:
                raise IndexMissing(f"there is no index {self._name!r}", hint="recsys index create")
            blocks = VectorBlocks(connection, index.id, index.dimension)
            candidates = allowed_slots(connection, index.id, where)
            return [
                _closest(connection, slots, scores, limit)
                for some in batched(queries, _QUERIES_AT_ONCE)
                for slots, scores in blocks.scores(_units(some, index.dimension), candidates)
            ]

    def neighbors(
        self,
        product_ids: Sequence[str],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,  # noqa: ARG002 - as above
        exact: bool = False,  # noqa: ARG002
    ) -> dict[str, list[Neighbor]]:
        rows = self.get(product_ids)
        found = self.search_many(list(rows.values()), limit, where) if rows else []
        return dict(zip(rows, found, strict=True))

    def health(self) -> Health:
        return self._file.health("vectors")

    def close(self) -> None:
        self._file.close()

    def _compare(self, connection: Connection, spec: IndexSpec) -> None:
        noted = generation_rows.find(connection, self._alias, self._number)
        found = noted.spec.attributes if noted else ()
        if found != spec.attributes:
            have, want = (", ".join(names) or "none" for names in (found, spec.attributes))
            raise IndexMismatch(
                f"the index {self._name!r} exists with attributes {have}, not {want}",
                hint="recsys reembed --attribute NAME builds the next one with others",
            )

    def _index(self, connection: Connection) -> _Index | None:
        row = connection.execute(_SQL["find_index"], (self._name,)).fetchone()
        return row and _Index(*row)

    def _opened_index(self, connection: Connection) -> _Index:
        """Return where to write embeddings, also before anyone has created the index."""
        index = self._index(connection)
        if index is None:
            added = connection.execute(_SQL["add_index"], (self._name, self._dimension))
            return _Index(*added.fetchone())
        if index.dimension != self._dimension:
            raise self._mismatch(index, self._dimension)
        return index

    def _mismatch(self, index: _Index, wanted: int) -> IndexMismatch:
        return IndexMismatch(
            f"the index {self._name!r} holds vectors of {index.dimension} numbers, not {wanted}",
            hint="recsys index drop --embeddings",
        )

    def _rows(self, connection: Connection, product_ids: Sequence[str]) -> dict[str, Row]:
        found = connection.execute(_SQL["rows"], (self._name, json.dumps(product_ids)))
        return {row.product_id: row for row in map(Row._make, found)}


def _checked(embedding: Embedding, dimension: int) -> Vector | None:
    if embedding.vector is None:
        return None
    return checked(embedding.vector, dimension, f"the vector of {embedding.product_id!r}")


def _intact(product_id: str, vector: Vector) -> Vector:
    with np.errstate(over="ignore", invalid="ignore"):
        is_unit = abs(float(vector @ vector) - 1) < UNIT_TOLERANCE
    if not is_unit:
        raise InvalidData(
            f"the vector of product {product_id!r} is damaged",
            hint="recsys doctor --fix, then recsys consume --drain",
        )
    return vector


def _units(queries: Sequence[Vector], dimension: int) -> Matrix:
    for query in queries:
        if query.shape != (dimension,):
            raise ValueError(f"the index holds ({dimension},), the query has {query.shape}")
    rows = np.stack(queries)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: Matrix = rows / np.maximum(lengths, np.finfo(FLOAT32).tiny).astype(FLOAT32)
    return units


def _closest(connection: Connection, slots: Slots, scores: Scores, limit: int) -> list[Neighbor]:
    chosen = best(scores, limit)
    found = _neighbors(
        connection, dict(zip(slots[chosen].tolist(), scores[chosen].tolist(), strict=True))
    )
    found.sort(key=lambda neighbor: (-neighbor.similarity_score, neighbor.product_id))
    return found[:limit]


def _neighbors(connection: Connection, scores: Mapping[int, float]) -> list[Neighbor]:
    rows = connection.execute(_SQL["neighbors"], (json.dumps(list(scores)),))
    return [
        Neighbor(
            product_id=product_id,
            similarity_score=scores[slot],
            category=category,
            name=name,
            price=price,
            embedding_updated_at=updated_at,
        )
        for slot, product_id, category, name, price, updated_at in rows
    ]


def _counted(connection: Connection, index: _Index) -> dict[str, int]:
    """Return the number of embeddings by model version."""
    return dict(connection.execute(_SQL["count_embeddings"], (index.id,)))


def _clear(connection: Connection, index: _Index) -> None:
    for table in ("embeddings", "free_slots", "vector_blocks"):
        connection.execute(f"DELETE FROM {table} WHERE vector_index = ?", (index.id,))  # noqa: S608 - our names
    connection.execute("DELETE FROM vector_indexes WHERE id = ?", (index.id,))
