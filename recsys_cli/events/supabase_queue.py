"""The stream on Postgres: queues of pgmq, which other programs may read and write too.

A message's number is its position. ``read_ct`` counts its deliveries, ``vt`` says until when it is
with somebody; who that is stands in the table deliveries, written in the same statement.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from recsys_cli.connections.postgres import PostgresConnection, Session
from recsys_cli.connections.postgres_errors import SchemaGone
from recsys_cli.deliveries import DeadLetter, Delivery, Failure, PendingEvent
from recsys_cli.domain import Health, Position, ProductEvent, StreamStatus
from recsys_cli.errors import GroupMissing
from recsys_cli.events import codec
from recsys_cli.events import supabase_messages as messages
from recsys_cli.events.supabase_groups import (
    PART,
    groups_of,
    open_group,
    open_stream,
    remove_group,
    table,
)
from recsys_cli.events.supabase_progress import GroupProgress

_POLL_S = 0.05

_SEND = "SELECT pgmq.send_batch(%s::text, %s::jsonb[])"

_SEE = """
    INSERT INTO {schema}.consumers (queue, name, seen_at)
    VALUES (%(queue)s, %(consumer)s, clock_timestamp())
    ON CONFLICT (queue, name) DO UPDATE SET seen_at = excluded.seen_at"""
_LAST_HELD = """
    SELECT coalesce(max(msg_id), 0) FROM {schema}.deliveries
    WHERE queue = %(queue)s AND consumer = %(consumer)s"""

# "again": one that the consumer's predecessor left, else one that anybody has held too long.
# "fresh": the oldest others, up to the first that another program has had in its hands.
_TAKE = """
    WITH again AS (
        SELECT msg_id FROM {schema}.deliveries
        WHERE queue = %(queue)s AND (
            (consumer = %(consumer)s AND msg_id > %(after)s AND msg_id <= %(until)s)
            OR held_since <= clock_timestamp() - %(claim)s * interval '1 ms')
        ORDER BY
            NOT (consumer = %(consumer)s AND msg_id > %(after)s AND msg_id <= %(until)s), msg_id
        LIMIT 1 FOR UPDATE SKIP LOCKED),
    waiting AS (
        SELECT msg_id, read_ct FROM {messages} AS m
        WHERE vt <= clock_timestamp() AND NOT EXISTS (SELECT 1 FROM again)
          AND NOT EXISTS (
            SELECT 1 FROM {schema}.deliveries AS d
            WHERE d.queue = %(queue)s AND d.msg_id = m.msg_id)
        ORDER BY msg_id LIMIT %(count)s FOR UPDATE OF m SKIP LOCKED),
    fresh AS (
        SELECT msg_id FROM (
            SELECT msg_id, row_number() OVER (ORDER BY msg_id) AS place,
                   sum((read_ct > 0)::int) OVER (ORDER BY msg_id) AS read_before
            FROM waiting) AS w
        WHERE place = 1 OR (
            read_before = 0 AND place > 1)),
    taken AS (SELECT msg_id FROM again UNION ALL SELECT msg_id FROM fresh),
    read AS (
        UPDATE {messages} AS m SET
            vt = clock_timestamp() + %(claim)s * interval '1 ms', read_ct = read_ct + 1
        FROM taken WHERE m.msg_id = taken.msg_id
        RETURNING m.msg_id, m.read_ct, m.message::text AS message),
    held AS (
        INSERT INTO {schema}.deliveries AS d (queue, msg_id, consumer, held_since, attempts)
        SELECT %(queue)s, msg_id, %(consumer)s, clock_timestamp(), coalesce(read_ct, 1)
        FROM taken LEFT JOIN read USING (msg_id)
        ON CONFLICT (queue, msg_id) DO UPDATE SET
            consumer = excluded.consumer, held_since = excluded.held_since,
            attempts = greatest(d.attempts + 1, excluded.attempts)
        RETURNING msg_id, attempts, failure)
    SELECT msg_id, attempts, failure, message, EXISTS (SELECT 1 FROM again)
    FROM held LEFT JOIN read USING (msg_id) ORDER BY msg_id"""

_ACKNOWLEDGE = """
    WITH done AS (
        DELETE FROM {schema}.deliveries WHERE queue = %(queue)s AND msg_id = ANY(%(numbers)s))
    DELETE FROM {messages} WHERE msg_id = ANY(%(numbers)s)"""

_HOLD = """
    WITH held AS (
        UPDATE {schema}.deliveries AS d SET
            held_since = clock_timestamp() - %(idle)s * interval '1 ms',
            failure = coalesce(%(failure)s::text, failure)
        FROM unnest(%(numbers)s::bigint[], %(consumers)s::text[]) AS w(number, holder)
        WHERE queue = %(queue)s AND msg_id = number AND consumer = holder
        RETURNING msg_id)
    UPDATE {messages} AS m SET
        vt = clock_timestamp() + (%(claim)s - %(idle)s) * interval '1 ms'
    FROM held WHERE m.msg_id = held.msg_id"""

_BURY = """
    WITH wanted AS (
        SELECT * FROM unnest(%(numbers)s::bigint[], %(letters)s::text[])
        WITH ORDINALITY AS w(number, letter, place)),
    held AS (
        DELETE FROM {schema}.deliveries
        WHERE queue = %(queue)s AND msg_id = ANY(%(numbers)s) RETURNING msg_id),
    done AS (DELETE FROM {messages} WHERE msg_id IN (SELECT msg_id FROM held))
    INSERT INTO {schema}.letters (stream, letter)
    SELECT %(stream)s, letter FROM wanted JOIN held ON number = msg_id ORDER BY place"""

_FORGET = """
    DELETE FROM {schema}.consumers AS c WHERE queue = %(queue)s AND name = ANY(%(names)s)
      AND NOT EXISTS (
        SELECT 1 FROM {schema}.deliveries AS d WHERE d.queue = c.queue AND d.consumer = c.name)
    RETURNING name"""


class _Inherited(NamedTuple):
    """What a consumer's predecessor left, at positions in (after, until]."""

    until: int
    after: int = 0


class SupabaseQueue:
    """See ports.EventProcessor. ``claim_idle_ms``: how long a consumer may hold an event unseen."""

    def __init__(
        self, connection: PostgresConnection, *, stream: str, group: str, claim_idle_ms: int
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._group = group
        self._claim_idle_ms = claim_idle_ms
        self._progress = GroupProgress(connection, stream=stream, group=group)
        self._receiving = threading.Lock()
        self._inherited: dict[str, _Inherited] = {}
        self._group_was_made = False

    def publish(self, events: Sequence[ProductEvent]) -> list[Position]:
        if not events:
            return []
        bodies = [messages.encode(event.as_text()) for event in events]
        if not self._group_was_made:
            self.create_group()
        try:
            return self._send(bodies)
        except SchemaGone:
            # Somebody dropped the queue since: as the first use does, make it.
            self.create_group()
            return self._send(bodies)

    def begin_publish(self, events: Sequence[ProductEvent]) -> Callable[[], list[Position]]:
        positions = self.publish(events)
        return lambda: positions

    def create_group(self) -> bool:
        with self._connection.transaction(PART) as session:
            opened = open_group(self._connection, self._stream, self._group)
            row = session.execute(opened).fetchone()
        self._group_was_made = True
        return bool(row and row[0])

    def drop_group(self, name: str) -> bool:
        with self._connection.transaction(PART) as session:
            return remove_group(self._connection, session, self._stream, name)

    def receive(self, consumer: str, count: int, block_ms: int) -> list[Delivery]:
        deadline = time.monotonic() + block_ms / 1000
        while True:
            with self._receiving:
                rows = self._take(consumer, count)
            if deliveries := self._deliveries(consumer, rows):
                return deliveries
            left_s = deadline - time.monotonic()
            if not rows:
                if left_s <= 0:
                    return []
                time.sleep(min(_POLL_S, left_s))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._acknowledge([delivery.entry_id for delivery in deliveries])

    def postpone(self, delivery: Delivery, failure: Failure, delay_ms: int) -> None:
        idle_ms = max(0, self._claim_idle_ms - delay_ms)
        self._hold([delivery], idle_ms=idle_ms, failure=msgspec.json.encode(failure).decode())

    def renew(self, deliveries: Sequence[Delivery]) -> None:
        self._hold(deliveries, idle_ms=0, failure=None)

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        self._change(
            _BURY,
            numbers=[messages.number(letter.entry_id) for letter in letters],
            letters=[msgspec.json.encode(letter).decode() for letter in letters],
            stream=self._stream,
        )

    def forget_consumers(self, names: Sequence[str]) -> list[str]:
        with self._in_group() as (session, queue):
            if queue is None:
                return []
            query = self._connection.query(_FORGET)
            rows = session.execute(query, {"queue": queue, "names": list(names)}).fetchall()
        forgotten = {name for (name,) in rows}
        return [name for name in names if name in forgotten]

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        return self._progress.backlog()

    def status(self) -> StreamStatus:
        return self._progress.status()

    def pending(
        self, limit: int, *, min_idle_ms: int = 0, consumer: str | None = None
    ) -> list[PendingEvent]:
        return self._progress.pending(limit, min_idle_ms=min_idle_ms, consumer=consumer)

    def health(self) -> Health:
        return self._connection.health("events")

    def close(self) -> None:
        self._connection.close()

    def _send(self, bodies: Sequence[str]) -> list[Position]:
        with self._connection.transaction(PART) as session:
            queue = open_stream(self._connection, session, self._stream)
            rows = session.execute(_SEND, [queue, list(bodies)]).fetchall()
        return [Position(number, 0) for (number,) in rows]

    def _take(self, consumer: str, count: int) -> list[tuple[Any, ...]]:
        """Return (number, attempts, failure, message, whether it was delivered before) of each."""
        try:
            with self._in_group() as (session, queue):
                if queue is None:
                    raise self._group_missing()
                return self._take_from(session, queue, consumer, count)
        except SchemaGone as error:
            raise self._group_missing() from error

    def _take_from(
        self, session: Session, queue: str, consumer: str, count: int
    ) -> list[tuple[Any, ...]]:
        me: Mapping[str, object] = {"queue": queue, "consumer": consumer}
        session.execute(self._connection.query(_SEE), me)
        if consumer not in self._inherited:
            row = session.execute(self._connection.query(_LAST_HELD), me).fetchone()
            self._inherited[consumer] = _Inherited(until=row[0] if row else 0)
        mine = self._inherited[consumer]
        wanted = {**me, **mine._asdict(), "count": count, "claim": self._claim_idle_ms}
        query = self._connection.query(_TAKE, messages=table(queue))
        rows = session.execute(query, wanted).fetchall()
        if rows:
            # New events are handed out once nothing is left by the predecessor.
            number, *_, is_again = rows[0]
            after = max(mine.after, number) if is_again else mine.until
            self._inherited[consumer] = mine._replace(after=min(after, mine.until))
        return rows

    def _deliveries(self, consumer: str, rows: Sequence[tuple[Any, ...]]) -> list[Delivery]:
        """Return the rows as deliveries; those that are no events are acknowledged here."""
        deliveries, no_events = [], []
        for number, attempts, failure, message, _ in rows:
            entry_id = str(Position(number, 0))
            delivery = codec.delivery(
                None if message is None else messages.decode(message),
                entry_id=entry_id,
                consumer=consumer,
                attempt=attempts,
                failure=codec.failure(failure),
            )
            if delivery is None:
                no_events.append(entry_id)
            else:
                deliveries.append(delivery)
        if no_events:
            self._acknowledge(no_events)
        return deliveries

    def _acknowledge(self, entry_ids: Sequence[str]) -> None:
        self._change(_ACKNOWLEDGE, numbers=[messages.number(i) for i in entry_ids])

    def _hold(self, deliveries: Sequence[Delivery], *, idle_ms: int, failure: str | None) -> None:
        self._change(
            _HOLD,
            numbers=[messages.number(delivery.entry_id) for delivery in deliveries],
            consumers=[delivery.consumer for delivery in deliveries],
            idle=idle_ms,
            claim=self._claim_idle_ms,
            failure=failure,
        )

    def _change(self, statement: str, **values: object) -> None:
        """Run the statement on the group's queue; where there is none, nothing is held there."""
        with contextlib.suppress(SchemaGone), self._in_group() as (session, queue):
            if queue is not None:
                query = self._connection.query(statement, messages=table(queue))
                session.execute(query, {"queue": queue, **values})

    @contextlib.contextmanager
    def _in_group(self) -> Iterator[tuple[Session, str | None]]:
        """Give a transaction, and the queue of our group, None where there is no such group."""
        with self._connection.transaction(PART) as session:
            queues = groups_of(self._connection, session, self._stream)
            yield session, queues.get(self._group)

    def _group_missing(self) -> GroupMissing:
        return GroupMissing(f"the stream {self._stream} has no consumer group {self._group}")
