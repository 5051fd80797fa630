"""The generations in Postgres: a row each, and one for the lock, by the server's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from recsys_cli.connections.postgres import PostgresConnection, Session, remade
from recsys_cli.domain import Health, IndexSpec, utc_now
from recsys_cli.generations import (
    FIRST,
    Generation,
    GenerationState,
    as_left,
    lock_held,
    lock_lost,
    serving,
    swapped,
)
from recsys_cli.ports import VectorStore
from recsys_cli.vectors import pgvector_generation_rows as generation_rows
from recsys_cli.vectors.pgvector import Pgvector
from recsys_cli.vectors.pgvector_table import PART, Pgvectors, Table

# As of one moment: what is begun while the lock is held is not taken for left behind.
_ALL = """
    SELECT EXISTS (
        SELECT FROM {schema}.generation_locks
        WHERE index_name = %(index)s AND expires_at > clock_timestamp()), facts
    FROM (SELECT) AS always LEFT JOIN {schema}.generations ON index_name = %(index)s
    ORDER BY number"""
_TAKE = """
    INSERT INTO {schema}.generation_locks AS l
        (index_name, token, holder, expires_at, last_number)
    VALUES (%(index)s, 1, %(holder)s,
            clock_timestamp() + %(ttl)s * interval '1 ms', %(first)s)
    ON CONFLICT (index_name) DO UPDATE SET
        token = l.token + 1, holder = excluded.holder,
        expires_at = clock_timestamp() + %(ttl)s * interval '1 ms'
    WHERE l.expires_at <= clock_timestamp()
    RETURNING token"""
_HELD = """
    SELECT holder,
           (greatest(0, extract(epoch FROM expires_at - clock_timestamp())) * 1000)::bigint
    FROM {schema}.generation_locks WHERE index_name = %s"""
_RENEW = """
    UPDATE {schema}.generation_locks
    SET expires_at = clock_timestamp() + %s * interval '1 ms'
    WHERE index_name = %s AND token = %s AND expires_at > clock_timestamp()"""
_UNLOCK = """
    UPDATE {schema}.generation_locks SET expires_at = clock_timestamp()
    WHERE index_name = %s AND token = %s"""
_HOLDS = """
    SELECT FROM {schema}.generation_locks
    WHERE index_name = %s AND token = %s AND expires_at > clock_timestamp() FOR UPDATE"""
_NEXT = """
    UPDATE {schema}.generation_locks SET last_number = last_number + 1
    WHERE index_name = %s RETURNING last_number"""

_T = TypeVar("_T")


class PgvectorGenerations:
    """See ports.Generations. ``index`` is the name they share, ``dimension`` that of a vector."""

    def __init__(self, connection: PostgresConnection, *, index: str, dimension: int) -> None:
        self._connection = connection
        self._pgvectors = Pgvectors(connection)
        self._name = index
        self._dimension = dimension

    def all(self) -> list[Generation]:
        rows = self._connection.run(
            PART, self._connection.query(_ALL), {"index": self._name}
        ).fetchall()
        noted = [generation_rows.decoded(facts) for _, facts in rows if facts is not None]
        found = self._with_first(noted)
        return found if rows[0][0] else as_left(found)

    def store(self, generation: Generation) -> VectorStore:
        is_noted = bool(generation.since)
        return Pgvector(
            self._connection,
            index=self._name,
            dimension=self._dimension,
            generation=generation.number,
            ef_runtime=generation.spec.ef_runtime if is_noted else None,
            pgvectors=self._pgvectors,
        )

    def lock(self, holder: str, ttl_ms: int) -> int:
        values = {"index": self._name, "holder": holder, "ttl": ttl_ms, "first": FIRST}

        def take(session: Session) -> int:
            taken = session.execute(self._connection.query(_TAKE), values).fetchone()
            if taken is not None:
                return int(taken[0])
            held = session.execute(self._connection.query(_HELD), [self._name]).fetchone()
            raise lock_held(*(held or ("", 0)))

        return self._in_transaction(take)

    def renew(self, token: int, ttl_ms: int) -> None:
        values = [ttl_ms, self._name, token]
        if not self._in_transaction(lambda s: self._count(s, _RENEW, *values)):
            raise lock_lost()

    def unlock(self, token: int) -> None:
        self._in_transaction(lambda session: self._count(session, _UNLOCK, self._name, token))

    def begin(self, token: int, model_version: str, spec: IndexSpec) -> Generation:
        with self._changing(token) as session:
            row = session.execute(self._connection.query(_NEXT), [self._name]).fetchone()
            new = Generation(
                number=row[0] if row else FIRST,
                state=GenerationState.BUILDING,
                model_version=model_version,
                spec=spec,
                since=utc_now(),
            )
            found = self._rows(session)
            like = self._table(serving(found).number)
            self._table(new.number).make_like(session, like, spec.dimension)
            # The others too: the first may have been there without an entry.
            for generation in (*found, new):
                self._put(session, generation)
        return new

    def note(self, token: int, generation: Generation) -> None:
        with self._changing(token) as session:
            self._put(session, generation)

    def serve(self, token: int, number: int) -> None:
        with self._changing(token) as session:
            for generation in swapped(self._rows(session), number):
                self._put(session, generation)

    def drop(self, token: int, number: int) -> None:
        statement = self._table(number).query("DROP TABLE IF EXISTS {schema}.{table}")
        with self._changing(token) as session:
            session.execute(statement)
            generation_rows.delete(self._connection, session, self._name, number)

    def health(self) -> Health:
        return self.store(Generation()).health()

    def close(self) -> None:
        self._pgvectors.close()

    def _table(self, number: int) -> Table:
        return Table(self._pgvectors, self._name, number)

    def _rows(self, session: Session) -> list[Generation]:
        return self._with_first(generation_rows.rows(self._connection, session, self._name))

    def _with_first(self, found: list[Generation]) -> list[Generation]:
        """Add the first one where none serves: it has no entry until there is a second."""
        if any(row.state is GenerationState.SERVING for row in found):
            return found
        first = Generation(spec=IndexSpec(dimension=self._dimension))
        return [first, *(row for row in found if row.number != FIRST)]

    def _put(self, session: Session, generation: Generation) -> None:
        generation_rows.put(self._connection, session, self._name, generation)

    @contextmanager
    def _changing(self, token: int) -> Iterator[Session]:
        with self._connection.transaction(PART) as session:
            if not self._count(session, _HOLDS, self._name, token):
                raise lock_lost()
            yield session

    def _in_transaction(self, do: Callable[[Session], _T]) -> _T:
        def run() -> _T:
            with self._connection.transaction(PART) as session:
                return do(session)

        return remade(run)

    def _count(self, session: Session, statement: str, *values: object) -> int:
        return session.execute(self._connection.query(statement), values).rowcount
