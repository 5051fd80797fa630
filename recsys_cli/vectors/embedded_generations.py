"""The generations in the embedded file: a row each, and one for the lock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import Connection
from typing import NamedTuple

from recsys_cli.connections.sqlite import EmbeddedFile
from recsys_cli.domain import Health, IndexSpec, utc_now
from recsys_cli.generations import (
    FIRST,
    Generation,
    GenerationState,
    as_left,
    lock_held,
    lock_lost,
    swapped,
)
from recsys_cli.ports import VectorStore
from recsys_cli.vectors import generation_rows
from recsys_cli.vectors.embedded import EmbeddedVectors
from recsys_cli.vectors.generation_rows import SQL


class _Lock(NamedTuple):
    token: int = 0
    holder: str = ""
    expires_at_ms: int = 0
    last_number: int = FIRST


class EmbeddedGenerations:
    """See ports.Generations. ``index`` is the name they share, ``dimension`` that of a vector."""

    def __init__(self, file: EmbeddedFile, *, index: str, dimension: int) -> None:
        self._file = file
        self._name = index
        self._dimension = dimension

    def all(self) -> list[Generation]:
        now_ms = _now_ms()
        with self._file.reading() as connection:
            rows = self._rows(connection)
            is_locked = self._lock(connection).expires_at_ms > now_ms
        return rows if is_locked else as_left(rows)

    def store(self, generation: Generation) -> VectorStore:
        return EmbeddedVectors(
            self._file,
            index=self._name,
            dimension=self._dimension,
            generation=generation.number,
        )

    def lock(self, holder: str, ttl_ms: int) -> int:
        now_ms = _now_ms()
        with self._file.transaction() as connection:
            held = self._lock(connection)
            if held.expires_at_ms > now_ms:
                raise lock_held(held.holder, held.expires_at_ms - now_ms)
            taken = held._replace(
                token=held.token + 1, holder=holder, expires_at_ms=now_ms + ttl_ms
            )
            self._put_lock(connection, taken)
        return taken.token

    def renew(self, token: int, ttl_ms: int) -> None:
        with self._changing(token) as connection:
            lock = self._lock(connection)
            self._put_lock(connection, lock._replace(expires_at_ms=_now_ms() + ttl_ms))

    def unlock(self, token: int) -> None:
        with self._file.transaction() as connection:
            lock = self._lock(connection)
            if lock.token == token:
                self._put_lock(connection, lock._replace(expires_at_ms=0))

    def begin(self, token: int, model_version: str, spec: IndexSpec) -> Generation:
        with self._changing(token) as connection:
            lock = self._lock(connection)
            new = Generation(
                number=lock.last_number + 1,
                state=GenerationState.BUILDING,
                model_version=model_version,
                spec=spec,
                since=utc_now(),
            )
            self._put_lock(connection, lock._replace(last_number=new.number))
            # The others too: the first may have been there without an entry.
            for generation in (*self._rows(connection), new):
                self._put(connection, generation)
        return new

    def note(self, token: int, generation: Generation) -> None:
        with self._changing(token) as connection:
            self._put(connection, generation)

    def serve(self, token: int, number: int) -> None:
        with self._changing(token) as connection:
            for generation in swapped(self._rows(connection), number):
                self._put(connection, generation)

    def drop(self, token: int, number: int) -> None:
        with self._changing(token) as connection:
            (row,) = (row for row in self._rows(connection) if row.number == number)
        self.store(row).drop_index(embeddings=True)
        with self._changing(token) as connection:
            connection.execute(SQL["delete"], (self._name, number))

    def health(self) -> Health:
        return self._file.health("vectors")

    def close(self) -> None:
        self._file.close()

    def _rows(self, connection: Connection) -> list[Generation]:
        found = generation_rows.rows(connection, self._name)
        return found or [Generation(spec=IndexSpec(dimension=self._dimension))]

    def _put(self, connection: Connection, generation: Generation) -> None:
        generation_rows.put(connection, self._name, generation)

    @contextmanager
    def _changing(self, token: int) -> Iterator[Connection]:
        with self._file.transaction() as connection:
            lock = self._lock(connection)
            if lock.token != token or lock.expires_at_ms <= _now_ms():
                raise lock_lost()
            yield connection

    def _lock(self, connection: Connection) -> _Lock:
        row = connection.execute(SQL["lock_row"], (self._name,)).fetchone()
        return _Lock(*row) if row else _Lock()

    def _put_lock(self, connection: Connection, lock: _Lock) -> None:
        connection.execute(SQL["put_lock"], (self._name, *lock))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
