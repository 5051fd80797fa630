"""The stream on Postgres: queues of pgmq, which other programs may read and write too.

A message's number is its position; ``vt`` says until when it is with somebody. With which of our
consumers, and how often it was with any, stands in the table deliveries, written in the same
statement. ``read_ct`` also counts what other programs do, and decides nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from recsys_cli.connections.postgres import PostgresConnection, remade
from recsys_cli.connections.postgres_errors import SchemaGone
from recsys_cli.deliveries import DeadLetter, Delivery, Failure, PendingEvent
from recsys_cli.domain import Health, Position, ProductEvent, StreamStatus
from recsys_cli.errors import BackendRefused, GroupMissing
from recsys_cli.events import codec
from recsys_cli.events import supabase_messages as messages
from recsys_cli.events import supabase_statements as statements
from recsys_cli.events.supabase_alarm import Alarm
from recsys_cli.events.supabase_groups import (
    PART,
    open_group,
    remove_group,
    table,
)
from recsys_cli.events.supabase_messages import queue_of
from recsys_cli.events.supabase_progress import GroupProgress

Row: TypeAlias = tuple[Any, ...]


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
        self._alarm = Alarm(connection, queue_of(stream))
        self._receiving = threading.Lock()
        self._inherited: dict[str, _Inherited] = {}
        self._group_was_made = False
        self._queue: str | None = None

    def publish(self, events: Sequence[ProductEvent]) -> list[Position]:
        if not events:
            return []
        bodies = [messages.encode(event.as_text()) for event in events]
        if not self._group_was_made:
            self.create_group()
        with contextlib.suppress(SchemaGone):
            if positions := self._send(bodies):
                return positions
        # Somebody dropped the queue since: as the first use does, make it.
        self.create_group()
        if positions := self._send(bodies):
            return positions
        raise BackendRefused(
            f"the queue of the stream {self._stream} does not stay as recsys makes it",
            hint="see who drops it, or its trigger recsys_fan_out_...; then the same again",
        )

    def begin_publish(self, events: Sequence[ProductEvent]) -> Callable[[], list[Position]]:
        positions = self.publish(events)
        return lambda: positions

    def create_group(self) -> bool:
        opened = open_group(self._connection, self._stream, self._group)
        row = self._connection.run(PART, opened).fetchone()
        self._group_was_made = True
        return bool(row and row[0])

    def drop_group(self, name: str) -> bool:
        def drop() -> bool:
            with self._connection.transaction(PART) as session:
                return remove_group(self._connection, session, self._stream, name)

        return remade(drop)

    def receive(self, consumer: str, count: int, block_ms: int) -> list[Delivery]:
        deadline = time.monotonic() + block_ms / 1000
        while True:
            with self._receiving:
                rows = self._take(consumer, count)
            if deliveries := self._deliveries(consumer, rows):
                self._alarm.quiet()
                return deliveries
            left_s = deadline - time.monotonic()
            if not rows:
                if left_s <= 0:
                    return []
                self._alarm.wait(left_s)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._acknowledge([delivery.entry_id for delivery in deliveries])

    def postpone(self, delivery: Delivery, failure: Failure, delay_ms: int) -> None:
        idle_ms = max(0, self._claim_idle_ms - delay_ms)
        self._hold([delivery], idle_ms=idle_ms, failure=msgspec.json.encode(failure).decode())

    def renew(self, deliveries: Sequence[Delivery]) -> None:
        self._hold(deliveries, idle_ms=0, failure=None)

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        self._change(
            statements.BURY,
            numbers=[messages.number(letter.entry_id) for letter in letters],
            letters=[msgspec.json.encode(letter).decode() for letter in letters],
        )

    def forget_consumers(self, names: Sequence[str]) -> list[str]:
        forgotten = {name for (name,) in self._change(statements.FORGET, names=list(names))}
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
        health = self._connection.health("events")
        query = self._connection.query(statements.HAS_PGMQ)
        if self._connection.run(None, query).fetchone() is None:
            raise BackendRefused(
                f"Postgres at {health.address} has no pgmq", hint="install pgmq on the server"
            )
        return health

    def close(self) -> None:
        self._alarm.close()
        self._connection.close()

    def _send(self, bodies: Sequence[str]) -> list[Position]:
        """Return the positions, none where the queue or what belongs to it is not there."""
        query = self._connection.query(statements.SEND)
        values = {
            "stream": self._stream,
            "queue": queue_of(self._stream),
            "messages": list(bodies),
        }
        rows = self._connection.run(PART, query, values).fetchall()
        return [Position(number, 0) for (number,) in rows]

    def _take(self, consumer: str, count: int) -> list[Row]:
        """Return (number, attempts, failure, message, whether it was delivered before) of each."""
        wanted = {"consumer": consumer, "count": count, "claim": self._claim_idle_ms}
        try:
            if consumer not in self._inherited:
                (last,) = self._in_group(statements.LAST_HELD, wanted)
                self._inherited[consumer] = _Inherited(until=last[0])
            mine = self._inherited[consumer]
            rows = self._in_group(statements.TAKE, {**wanted, **mine._asdict()})
        except SchemaGone as error:
            raise self._group_missing() from error
        if not rows:
            raise self._group_missing()
        number, *_, is_again = rows[0]
        if number is None:
            return []
        # New events are handed out once nothing is left by the predecessor.
        after = max(mine.after, number) if is_again else mine.until
        self._inherited[consumer] = mine._replace(after=min(after, mine.until))
        return rows

    def _deliveries(self, consumer: str, rows: Sequence[Row]) -> list[Delivery]:
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
        self._change(statements.ACKNOWLEDGE, numbers=[messages.number(i) for i in entry_ids])

    def _hold(self, deliveries: Sequence[Delivery], *, idle_ms: int, failure: str | None) -> None:
        self._change(
            statements.HOLD,
            numbers=[messages.number(delivery.entry_id) for delivery in deliveries],
            consumers=[delivery.consumer for delivery in deliveries],
            idle=idle_ms,
            claim=self._claim_idle_ms,
            failure=failure,
        )

    def _change(self, statement: str, **values: object) -> list[Row]:
        """Run the statement on the group's queue; where there is none, nothing is held there."""
        try:
            return self._in_group(statement, values)
        except (SchemaGone, GroupMissing):
            return []

    def _in_group(self, statement: str, values: Mapping[str, object]) -> list[Row]:
        """Run the statement on the group's queue, and again where it is no longer that one."""
        return self._on_queue(statement, values) or self._on_queue(statement, values)

    def _on_queue(self, statement: str, values: Mapping[str, object]) -> list[Row]:
        queue = self._queue or self._found_queue()
        query = self._connection.query(
            statement, messages=table(queue), mine=self._connection.query(statements.MINE)
        )
        of_group = {"stream": self._stream, "group": self._group, "queue": queue}
        try:
            rows = self._connection.run(PART, query, {**values, **of_group}).fetchall()
        except SchemaGone:
            self._queue = None
            raise
        self._queue = queue if rows else None
        return rows

    def _found_queue(self) -> str:
        query = self._connection.query(statements.FIND)
        of_group = {"stream": self._stream, "group": self._group}
        row = self._connection.run(PART, query, of_group).fetchone()
        if row is None:
            raise self._group_missing()
        return str(row[0])

    def _group_missing(self) -> GroupMissing:
        return GroupMissing(f"the stream {self._stream} has no consumer group {self._group}")
