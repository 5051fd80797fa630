"""How far a group has come on its queue of pgmq: looking at it delivers nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import sql

from recsys_cli.connections.postgres import PostgresConnection, Session, remade
from recsys_cli.deliveries import PendingEvent
from recsys_cli.domain import (
    ConsumerStatus,
    GroupStatus,
    Position,
    ProductEvent,
    StreamStatus,
)
from recsys_cli.events import codec
from recsys_cli.events import supabase_messages as messages
from recsys_cli.events.supabase_groups import PART, groups_of, open_stream, table

_PAGE = 1_000
_MS = "(extract(epoch FROM clock_timestamp() - {}) * 1000)::bigint"

_LENGTH = "SELECT count(*) FROM ({all}) AS every_group"
_LAST = """
    SELECT coalesce(pg_sequence_last_value(
        pg_get_serial_sequence(format('pgmq.%%I', 'q_' || %s::text), 'msg_id')::regclass), 0)"""
_BEHIND = """
    SELECT (SELECT count(*) FROM {messages} AS m WHERE NOT EXISTS (
                SELECT 1 FROM {schema}.deliveries AS d
                WHERE d.queue = %(queue)s AND d.msg_id = m.msg_id)),
           count(*), greatest(0, max({held_ms}))
    FROM {schema}.deliveries WHERE queue = %(queue)s"""
_CONSUMERS = """
    SELECT name, greatest(0, {seen_ms}), (
        SELECT count(*) FROM {schema}.deliveries AS d
        WHERE d.queue = c.queue AND d.consumer = c.name)
    FROM {schema}.consumers AS c WHERE queue = %s ORDER BY name"""
_LETTERS = "SELECT count(*) FROM {schema}.letters WHERE stream = %s"
_PENDING = """
    SELECT d.msg_id, m.message::text, consumer, greatest(0, {held_ms}), attempts, failure
    FROM {schema}.deliveries AS d LEFT JOIN {messages} AS m USING (msg_id)
    WHERE queue = %(queue)s AND ({held_ms} >= %(idle)s OR %(idle)s <= 0)
      AND (%(consumer)s::text IS NULL OR consumer = %(consumer)s)
    ORDER BY d.msg_id LIMIT %(limit)s"""
_BACKLOG = """
    SELECT msg_id, message::text FROM {messages}
    WHERE msg_id > %s AND msg_id <= %s AND message IS NOT NULL ORDER BY msg_id LIMIT %s"""


class GroupProgress:
    def __init__(self, connection: PostgresConnection, *, stream: str, group: str) -> None:
        self._connection = connection
        self._stream = stream
        self._group = group

    def status(self) -> StreamStatus:
        return remade(self._status)

    def _status(self) -> StreamStatus:
        with self._connection.transaction(PART) as session:
            main = open_stream(self._connection, session, self._stream)
            queues = groups_of(self._connection, session, self._stream)
            length = self._length(session, {main, *queues.values()})
            last = self._one(session, _LAST, main)[0]
            dead = self._one(session, _LETTERS, self._stream)[0]
            facts = {name: self._behind(session, queue) for name, queue in queues.items()}
            consumers = {name: self._consumers(session, queue) for name, queue in queues.items()}
        lag, pending, oldest = facts.get(self._group, (length, 0, None))
        return StreamStatus(
            stream=self._stream,
            group=self._group,
            length=length,
            last_entry_id=str(Position(last, 0)),
            lag=lag,
            pending=pending,
            oldest_pending_ms=oldest,
            dead_letters=dead,
            consumers=consumers.get(self._group, []),
            groups=[
                GroupStatus(
                    name=name,
                    lag=behind,
                    pending=held,
                    idle_ms=min((c.idle_ms or 0 for c in consumers[name]), default=None),
                )
                for name, (behind, held, _) in facts.items()
            ],
        )

    def pending(
        self, limit: int, *, min_idle_ms: int = 0, consumer: str | None = None
    ) -> list[PendingEvent]:
        wanted = {"limit": limit, "idle": min_idle_ms, "consumer": consumer}

        def read() -> list[PendingEvent]:
            with self._connection.transaction(PART) as session:
                queue = groups_of(self._connection, session, self._stream).get(self._group)
                if queue is None:
                    return []
                query = self._query(_PENDING, messages=table(queue))
                rows = session.execute(query, wanted | {"queue": queue}).fetchall()
            return [_pending_event(*row) for row in rows]

        return remade(read)

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        queue, until = remade(self._extent)
        query, after = self._query(_BACKLOG, messages=table(queue)), 0
        while True:
            with self._connection.transaction(PART) as session:
                rows = session.execute(query, [after, until, _PAGE]).fetchall()
            for number, message in rows:
                raw = messages.decode(message)
                if isinstance(event := codec.decode(raw), ProductEvent):
                    yield codec.place(raw, str(Position(number, 0))), event
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def _extent(self) -> tuple[str, int]:
        """Return the group's queue, the stream's own where it has none, and the last number."""
        with self._connection.transaction(PART) as session:
            main = open_stream(self._connection, session, self._stream)
            queue = groups_of(self._connection, session, self._stream).get(self._group, main)
            return queue, self._one(session, _LAST, main)[0]

    def _length(self, session: Session, queues: set[str]) -> int:
        parts = [sql.SQL("SELECT msg_id FROM {}").format(table(queue)) for queue in sorted(queues)]
        query = sql.SQL(_LENGTH).format(all=sql.SQL(" UNION ").join(parts))
        row = session.execute(query).fetchone()
        return int(row[0]) if row else 0

    def _behind(self, session: Session, queue: str) -> tuple[int, int, int | None]:
        query = self._query(_BEHIND, messages=table(queue))
        lag, pending, oldest = session.execute(query, {"queue": queue}).fetchall()[0]
        return lag, pending, oldest if pending else None

    def _consumers(self, session: Session, queue: str) -> list[ConsumerStatus]:
        rows = session.execute(self._query(_CONSUMERS), [queue]).fetchall()
        return [ConsumerStatus(name=n, pending=held, idle_ms=idle) for n, idle, held in rows]

    def _one(self, session: Session, query: str, *values: object) -> tuple[Any, ...]:
        return session.execute(self._query(query), values).fetchall()[0]

    def _query(self, text: str, **names: sql.Composable) -> sql.Composed:
        times = {
            "held_ms": sql.SQL(_MS).format(sql.SQL("held_since")),
            "seen_ms": sql.SQL(_MS).format(sql.SQL("seen_at")),
        }
        return self._connection.query(text, **times, **names)


def _pending_event(
    number: int, message: str | None, consumer: str, idle_ms: int, attempts: int, failure: str
) -> PendingEvent:
    fields = codec.printable(messages.decode(message)) if message else {}
    return PendingEvent(
        entry_id=str(Position(number, 0)),
        product_id=fields.get("product_id"),
        event_type=fields.get("event_type"),
        consumer=consumer,
        idle_ms=idle_ms,
        deliveries=attempts,
        failure=codec.failure(failure),
    )
