"""The generations over Pinecone: a namespace each, and their table in a note of the catalog.

Pinecone cannot compare and set, so the table, with the lock, is kept where that is possible. The
lock expires by the clock of the machine that looks: clocks that differ by more than the time to
live of a lock let two runs in at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from recsys_cli.connections.pinecone import PineconeIndex
from recsys_cli.domain import Health, IndexSpec, utc_now
from recsys_cli.errors import BackendUnavailable
from recsys_cli.generations import FIRST, Generation, GenerationState
from recsys_cli.ports import Catalog, Notes, VectorStore
from recsys_cli.vectors import generation_table
from recsys_cli.vectors.generation_table import Table
from recsys_cli.vectors.pinecone import PineconeVectors

_ATTEMPTS = 50
"""Each time that a swap fails another run's has succeeded, so this many never fail by chance."""


class PineconeTable:
    """The table of generations under one index name, in ``notes``."""

    def __init__(self, notes: Notes, *, index: str, dimension: int) -> None:
        self._notes = notes
        self._name = f"{index}:generations"
        self._dimension = dimension

    def read(self) -> Table:
        return self._decoded(self._notes.note(self._name))

    def change(self, changed: Callable[[Table], Table]) -> Table:
        """Put ``changed(table)`` in place of the table, whatever others do to it meanwhile."""
        for _ in range(_ATTEMPTS):
            raw = self._notes.note(self._name)
            before = self._decoded(raw)
            after = changed(before)
            if after == before or self._notes.swap_note(
                self._name, raw, generation_table.encoded(after)
            ):
                return after
        raise BackendUnavailable(
            f"others change the note {self._name!r} without a pause", hint="try again"
        )

    def has_index(self, number: int) -> bool:
        return number in self.read().indexes

    def spec(self, number: int) -> IndexSpec | None:
        """Return how the index of the generation was made, None where it has none."""
        table = self.read()
        row = generation_table.find(table, number)
        return row.spec if row and number in table.indexes else None

    def add_index(self, number: int, spec: IndexSpec) -> None:
        self.change(lambda table: generation_table.with_index(table, number, spec))

    def remove_index(self, number: int) -> None:
        self.change(lambda table: generation_table.without_index(table, number))

    def _decoded(self, raw: bytes | None) -> Table:
        return generation_table.decoded(raw, name=self._name, dimension=self._dimension)


class PineconeGenerations:
    """See ports.Generations. ``catalog``: also keeps the table; it stays the caller's to close."""

    def __init__(
        self,
        pinecone: PineconeIndex,
        catalog: Catalog,
        *,
        index: str,
        dimension: int,
        waits_until_visible: bool = False,
    ) -> None:
        self._pinecone = pinecone
        self._catalog = catalog
        self._name = index
        self._dimension = dimension
        self._waits = waits_until_visible
        self._table = PineconeTable(catalog, index=index, dimension=dimension)

    def all(self) -> list[Generation]:
        # The time first: so a lock is never taken for expired that is not.
        now_ms = _now_ms()
        return generation_table.seen_by_all(self._table.read(), now_ms)

    def store(self, generation: Generation) -> VectorStore:
        return self._store(generation, waits=self._waits)

    def lock(self, holder: str, ttl_ms: int) -> int:
        return self._table.change(
            lambda table: generation_table.locked(table, holder, _now_ms(), ttl_ms)
        ).token

    def renew(self, token: int, ttl_ms: int) -> None:
        self._table.change(lambda table: generation_table.renewed(table, token, _now_ms(), ttl_ms))

    def unlock(self, token: int) -> None:
        self._table.change(lambda table: generation_table.unlocked(table, token))

    def begin(self, token: int, model_version: str, spec: IndexSpec) -> Generation:
        after = self._table.change(lambda table: generation_table.numbered(table, token, _now_ms()))
        new = Generation(
            number=after.last_number,
            state=GenerationState.BUILDING,
            model_version=model_version,
            spec=spec,
            since=utc_now(),
        )
        # A catalog that was lost may have given the number too, and left embeddings there.
        self.store(new).drop_index(embeddings=True)
        self.note(token, new)
        return new

    def note(self, token: int, generation: Generation) -> None:
        self._table.change(
            lambda table: generation_table.noted(table, token, _now_ms(), generation)
        )

    def serve(self, token: int, number: int) -> None:
        self._table.change(lambda table: generation_table.served(table, token, _now_ms(), number))

    def drop(self, token: int, number: int) -> None:
        generation = Generation(number=number)
        generation_table.held(self._table.read(), token, _now_ms())
        self._store(generation, waits=False).drop_index(embeddings=True)
        self._table.change(lambda table: generation_table.dropped(table, token, _now_ms(), number))
        # Consumers have gone on writing until they saw that the entry is gone.
        self.store(generation).drop_index(embeddings=True)

    def health(self) -> Health:
        return self.store(Generation(number=FIRST)).health()

    def close(self) -> None:
        self._pinecone.close()

    def _store(self, generation: Generation, *, waits: bool) -> PineconeVectors:
        return PineconeVectors(
            self._pinecone,
            self._table,
            self._catalog,
            index=self._name,
            dimension=self._dimension,
            generation=generation.number,
            attributes=generation.spec.attributes,
            waits_until_visible=waits,
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
