"""Vectors in blobs of 512: written in place, one by one, and compared block by block.

So an update writes 1.5 kB, and the memory of a search does not grow with the catalog. A slot is
``512 * block + row``; those that hold no vector are listed as free and are used again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from sqlite3 import Connection
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from recsys_cli.domain import SCORE_DECIMALS
from recsys_cli.ports import Matrix, Vector

BLOCK_ROWS = 512
FLOAT32 = np.dtype("<f4")

LONGEST_COSINE = 1.001
"""What two unit vectors can come to, in float32."""

Slots: TypeAlias = npt.NDArray[np.int64]
Scores: TypeAlias = npt.NDArray[np.float64]

_ALL_ROWS: Slots = np.arange(BLOCK_ROWS)

_ADD_BLOCK = "INSERT INTO vector_blocks (vector_index, vectors) VALUES (?, zeroblob(?))"
_ADD_FREE_SLOT = "INSERT INTO free_slots (vector_index, slot) VALUES (?, ?)"
_BLOCKS = "SELECT block FROM vector_blocks WHERE vector_index = ? ORDER BY block"
_FREE_SLOTS = "SELECT slot FROM free_slots WHERE vector_index = ? ORDER BY slot LIMIT ?"
_TAKE_SLOT = "DELETE FROM free_slots WHERE vector_index = ? AND slot = ?"
_NO_LIMIT = -1


class VectorBlocks(NamedTuple):
    """The blocks of one index, within a transaction of ``connection``."""

    connection: Connection
    vector_index: int
    dimension: int

    def take_slots(self, count: int) -> list[int]:
        """Return ``count`` slots that were free and no longer are."""
        slots = self._free_slots(count)
        while len(slots) < count:
            self._add_block()
            slots = self._free_slots(count)
        self.connection.executemany(_TAKE_SLOT, [(self.vector_index, slot) for slot in slots])
        return slots

    def write(self, vectors: Mapping[int, Vector]) -> None:
        """Put each vector into its slot."""
        for block, slots in itertools.groupby(sorted(vectors), key=_block):
            with self.connection.blobopen("vector_blocks", "vectors", block) as blob:
                for slot in slots:
                    blob.seek(self._offset(slot))
                    blob.write(vectors[slot].tobytes())

    def read(self, slots: Iterable[int]) -> Iterator[tuple[int, Vector]]:
        """Yield each slot with its vector."""
        for block, inside in itertools.groupby(sorted(slots), key=_block):
            with self.connection.blobopen("vector_blocks", "vectors", block, readonly=True) as blob:
                for slot in inside:
                    blob.seek(self._offset(slot))
                    yield slot, np.frombuffer(blob.read(self._row_bytes), FLOAT32)

    def scores(
        self, queries: Matrix, slots: Iterable[int] | None
    ) -> Iterator[tuple[Slots, Scores]]:
        """Yield for each query slots and the scores of their vectors; None: all slots in use.

        Each block is read once, for all queries.
        """
        rows_by_block = self._rows_in_use() if slots is None else _rows_by_block(slots)
        found_slots: list[Slots] = [np.empty(0, np.int64)]
        found_scores: list[Matrix] = [np.empty((0, len(queries)), FLOAT32)]
        for block, rows in rows_by_block:
            with self.connection.blobopen("vector_blocks", "vectors", block, readonly=True) as blob:
                vectors = np.frombuffer(blob.read(), FLOAT32).reshape(BLOCK_ROWS, self.dimension)
            with np.errstate(over="ignore", invalid="ignore"):
                # One by one: so a score is the same to the bit, whatever else is asked.
                products = [vectors @ query for query in queries]
                found_scores.append(np.stack(products, axis=1)[rows])
            found_slots.append(block * BLOCK_ROWS + rows)
        all_slots = np.concatenate(found_slots)
        for scores in np.concatenate(found_scores).T:
            # A vector that is damaged on the disk may be anything: it is nobody's neighbor.
            is_cosine = np.abs(scores) <= LONGEST_COSINE
            cosines = scores[is_cosine].astype(np.float64)
            yield all_slots[is_cosine], cosines.clip(-1, 1).round(SCORE_DECIMALS)

    @property
    def _row_bytes(self) -> int:
        return self.dimension * FLOAT32.itemsize

    def _offset(self, slot: int) -> int:
        return slot % BLOCK_ROWS * self._row_bytes

    def _add_block(self) -> None:
        added = self.connection.execute(
            _ADD_BLOCK, (self.vector_index, BLOCK_ROWS * self._row_bytes)
        )
        first = (added.lastrowid or 0) * BLOCK_ROWS
        slots = range(first, first + BLOCK_ROWS)
        self.connection.executemany(_ADD_FREE_SLOT, [(self.vector_index, slot) for slot in slots])

    def _free_slots(self, limit: int) -> list[int]:
        return [
            slot for (slot,) in self.connection.execute(_FREE_SLOTS, (self.vector_index, limit))
        ]

    def _rows_in_use(self) -> Iterator[tuple[int, Slots]]:
        free = dict(_rows_by_block(self._free_slots(_NO_LIMIT)))
        for (block,) in self.connection.execute(_BLOCKS, (self.vector_index,)).fetchall():
            yield block, np.delete(_ALL_ROWS, free[block]) if block in free else _ALL_ROWS


def best(scores: Scores, limit: int) -> Slots:
    """Return where the ``limit`` highest scores are, with all that tie with the last of them."""
    if limit >= len(scores):
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, -limit)[-limit])


def _rows_by_block(slots: Iterable[int]) -> Iterator[tuple[int, Slots]]:
    for block, inside in itertools.groupby(sorted(slots), key=_block):
        yield block, np.array([slot % BLOCK_ROWS for slot in inside])


def _block(slot: int) -> int:
    return slot // BLOCK_ROWS
