"""The event stream in the embedded file.

An event's number is its position. A group remembers the last number it has handed out, and has a
row in ``deliveries`` for each event that is still in a consumer's hands: what is behind the one
and not among the others is acknowledged. Waiting only reads; the write lock is taken when there
is something to hand out.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NamedTuple, TypeAlias

import msgspec

from recsys_cli.connections.sqlite import EmbeddedFile, named_queries
from recsys_cli.deliveries import DeadLetter, Delivery, Failure, PendingEvent
from recsys_cli.domain import (
    ConsumerStatus,
    GroupStatus,
    Health,
    Position,
    ProductEvent,
    StreamStatus,
)
from recsys_cli.errors import GroupMissing
from recsys_cli.events import codec

_SQL = named_queries(Path(__file__).with_suffix(".sql"))
_POLL_S = 0.02
_SEEN_EVERY_MS = 1_000
_PAGE = 1_000

_Parameters: TypeAlias = dict[str, str | int | None]


class _Inherited(NamedTuple):
    """What a consumer's predecessor left, at positions in (after, until]."""

    until: int
    after: int = 0


class _Due(NamedTuple):
    """Positions whose turn it is: one that was delivered before, or new ones."""

    again: int | None
    new: Sequence[int]

    @property
    def positions(self) -> Sequence[int]:
        return self.new if self.again is None else [self.again]


class EmbeddedStream:
    """An EventProcessor: ``stream`` in ``file``, seen through ``group``.

    ``claim_idle_ms`` is how long a delivery stays with a consumer before others may take it.
    """

    def __init__(self, file: EmbeddedFile, *, stream: str, group: str, claim_idle_ms: int) -> None:
        self._file = file
        self._stream = stream
        self._group = group
        self._claim_idle_ms = claim_idle_ms
        self._inherited: dict[str, _Inherited] = {}
        self._handing_out = threading.Lock()

    def publish(self, events: Sequence[ProductEvent]) -> list[Position]:
        rows = [_row(event) for event in events]
        with self._file.transaction() as connection:
            stream = self._opened_group(connection)["stream"]
            (last,) = connection.execute(_SQL["last_position"]).fetchone()
            numbers = range(last + 1, last + 1 + len(rows))
            connection.executemany(
                _SQL["add_event"],
                [(number, stream, *row) for number, row in zip(numbers, rows, strict=True)],
            )
        return [Position(number, 0) for number in numbers]

    def begin_publish(self, events: Sequence[ProductEvent]) -> Callable[[], list[Position]]:
        positions = self.publish(events)
        return lambda: positions

    def create_group(self) -> bool:
        with self._file.transaction() as connection:
            is_new = self._found_group(connection)["group"] is None
            self._opened_group(connection)
        return is_new

    def drop_group(self, name: str) -> bool:
        with self._file.transaction() as connection:
            ours = self._found_group(connection)
            for query in ("forget_deliveries", "forget_consumers"):
                connection.execute(_SQL[query], ours | {"name": name})
            dropped = connection.execute(_SQL["drop_group"], ours | {"name": name}).rowcount
            (positions,) = connection.execute(_SQL["positions"], ours).fetchone()
            connection.execute(_SQL["delete_acknowledged_by_all"], ours | {"positions": positions})
        return dropped == 1

    def receive(self, consumer: str, count: int, block_ms: int) -> list[Delivery]:
        deadline = time.monotonic() + block_ms / 1000
        self._introduce(consumer)
        while True:
            while self._is_work_due(consumer):
                if deliveries := self._hand_out(consumer, count):
                    return deliveries
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return []
            time.sleep(min(_POLL_S, left_s))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        with self._file.transaction() as connection:
            self._acknowledge(connection, [delivery.entry_id for delivery in deliveries])

    def postpone(self, delivery: Delivery, failure: Failure, delay_ms: int) -> None:
        idle_ms = max(0, self._claim_idle_ms - delay_ms)
        self._hold([delivery], idle_ms=idle_ms, failure=msgspec.json.encode(failure).decode())

    def renew(self, deliveries: Sequence[Delivery]) -> None:
        self._hold(deliveries, idle_ms=0)

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        with self._file.transaction() as connection:
            group = self._opened_group(connection)
            for letter in letters:
                held = connection.execute(_SQL["is_pending"], group | _at(letter.entry_id))
                if held.fetchone()[0]:
                    kept = {"letter": msgspec.json.encode(letter).decode()}
                    connection.execute(_SQL["add_dead_letter"], group | kept)
            self._acknowledge(connection, [letter.entry_id for letter in letters])

    def forget_consumers(self, names: Sequence[str]) -> list[str]:
        with self._file.transaction() as connection:
            group = self._found_group(connection)
            return [
                name
                for name in names
                if connection.execute(_SQL["forget_consumer"], group | {"consumer": name}).rowcount
            ]

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        with self._file.reading() as connection:
            (until,) = connection.execute(_SQL["last_position"]).fetchone()
        page = {"after": 0, "until": until, "count": _PAGE}
        while True:
            with self._file.reading() as connection:
                group = self._found_group(connection)
                rows = connection.execute(_SQL["backlog"], group | page).fetchall()
            for number, *fields in rows:
                raw = _raw(fields)
                if isinstance(event := codec.decode(raw), ProductEvent):
                    yield codec.place(raw, str(Position(number, 0))), event
            if len(rows) < _PAGE:
                return
            page["after"] = rows[-1][0]

    def status(self) -> StreamStatus:
        with self._file.reading() as connection:
            group = self._found_group(connection) | {"now_ms": _now_ms()}
            length, lag = connection.execute(_SQL["count_events"], group).fetchone()
            pending, oldest_ms = connection.execute(_SQL["count_pending"], group).fetchone()
            (dead_letters,) = connection.execute(_SQL["count_dead_letters"], group).fetchone()
            consumers = connection.execute(_SQL["consumers"], group).fetchall()
            groups = connection.execute(_SQL["groups"], group).fetchall()
            (last,) = connection.execute(_SQL["last_position"]).fetchone()
        return StreamStatus(
            stream=self._stream,
            group=self._group,
            length=length,
            last_entry_id=str(Position(last, 0)),
            lag=lag,
            pending=pending,
            oldest_pending_ms=oldest_ms,
            dead_letters=dead_letters,
            consumers=[
                ConsumerStatus(name=name, pending=held, idle_ms=idle_ms)
                for name, idle_ms, held in consumers
            ],
            groups=[
                GroupStatus(name=name, lag=behind, pending=held, idle_ms=idle_ms)
                for name, behind, held, idle_ms in groups
            ],
        )

    def pending(
        self, limit: int, *, min_idle_ms: int = 0, consumer: str | None = None
    ) -> list[PendingEvent]:
        wanted = {"count": limit, "min_idle_ms": min_idle_ms, "consumer": consumer}
        with self._file.reading() as connection:
            rows = connection.execute(
                _SQL["pending"], self._found_group(connection) | wanted | {"now_ms": _now_ms()}
            ).fetchall()
        return [
            PendingEvent(
                entry_id=str(Position(number, 0)),
                product_id=product_id,
                event_type=event_type,
                consumer=holder,
                idle_ms=idle_ms,
                deliveries=attempts,
                failure=codec.failure(failure),
            )
            for number, product_id, event_type, holder, idle_ms, attempts, failure in rows
        ]

    def health(self) -> Health:
        return self._file.health("events")

    def close(self) -> None:
        self._file.close()

    def _introduce(self, consumer: str) -> None:
        """Note when the consumer asked, and what its predecessor left. Raises GroupMissing."""
        now_ms = _now_ms()
        me: _Parameters = {"consumer": consumer, "now_ms": now_ms}
        with self._file.reading() as connection:
            group = self._joined_group(connection) | me
            seen = connection.execute(_SQL["last_seen"], group).fetchone()
            (last_held,) = connection.execute(_SQL["last_held"], group).fetchone()
        self._inherited.setdefault(consumer, _Inherited(until=last_held))
        if seen is None or now_ms - seen[0] >= _SEEN_EVERY_MS:
            with self._file.transaction() as connection:
                connection.execute(_SQL["see_consumer"], self._joined_group(connection) | me)

    def _is_work_due(self, consumer: str) -> bool:
        with self._file.reading() as connection:
            due = self._due(connection, self._joined_group(connection), consumer, 1)
        return bool(due.positions)

    def _hand_out(self, consumer: str, count: int) -> list[Delivery]:
        with self._handing_out:
            with self._file.transaction() as connection:
                group = self._joined_group(connection)
                due = self._due(connection, group, consumer, count)
                change = group | {
                    "consumer": consumer,
                    "now_ms": _now_ms(),
                    "positions": json.dumps(due.positions),
                    "newest": max(due.new, default=0),
                }
                for query in ("hand_out", "advance_group", "see_consumer"):
                    connection.execute(_SQL[query], change)
                rows = connection.execute(_SQL["handed_out"], change).fetchall()
            mine = self._inherited[consumer]
            # New events are handed out once nothing is left by the predecessor.
            after = mine.until if due.again is None else max(mine.after, due.again)
            self._inherited[consumer] = mine._replace(after=min(after, mine.until))
        return self._deliveries(consumer, rows)

    def _due(self, connection: Connection, group: _Parameters, consumer: str, count: int) -> _Due:
        wanted = group | {
            "consumer": consumer,
            "count": count,
            "now_ms": _now_ms(),
            "claim_idle_ms": self._claim_idle_ms,
            **self._inherited[consumer]._asdict(),
        }
        if again := connection.execute(_SQL["due_again"], wanted).fetchone():
            return _Due(again[0], [])
        return _Due(None, [n for (n,) in connection.execute(_SQL["due_new"], wanted)])

    def _deliveries(self, consumer: str, rows: Iterable[Sequence[Any]]) -> list[Delivery]:
        """Return the rows as deliveries; those that are no events are acknowledged here."""
        deliveries, no_events = [], []
        for number, attempts, failure, is_lost, *fields in rows:
            entry_id = str(Position(number, 0))
            delivery = codec.delivery(
                None if is_lost else _raw(fields),
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
            with self._file.transaction() as connection:
                self._acknowledge(connection, no_events)
        return deliveries

    def _hold(
        self, deliveries: Sequence[Delivery], *, idle_ms: int, failure: str | None = None
    ) -> None:
        with self._file.transaction() as connection:
            change = self._found_group(connection) | {
                "now_ms": _now_ms(),
                "idle_ms": idle_ms,
                "failure": failure,
            }
            connection.executemany(
                _SQL["hold"],
                [change | _at(d.entry_id) | {"consumer": d.consumer} for d in deliveries],
            )

    def _acknowledge(self, connection: Connection, entry_ids: Sequence[str]) -> None:
        done = {"positions": json.dumps([_at(entry_id)["position"] for entry_id in entry_ids])}
        group = self._found_group(connection)
        connection.execute(_SQL["acknowledge"], group | done)
        connection.execute(_SQL["delete_acknowledged_by_all"], group | done)

    def _joined_group(self, connection: Connection) -> _Parameters:
        group = self._found_group(connection)
        if group["group"] is None:
            raise GroupMissing(f"the stream {self._stream} has no consumer group {self._group}")
        return group

    def _found_group(self, connection: Connection) -> _Parameters:
        """Return our group's ids, None where nothing has made it yet, as query parameters."""
        names = {"stream_name": self._stream, "group_name": self._group}
        row = connection.execute(_SQL["find_group"], names).fetchone()
        stream, group, last_delivered = row or (None, None, 0)
        return {"stream": stream, "group": group, "last_delivered": last_delivered}

    def _opened_group(self, connection: Connection) -> _Parameters:
        group = self._found_group(connection)
        if group["group"] is not None:
            return group
        names = {"stream_name": self._stream, "group_name": self._group}
        connection.execute(_SQL["add_stream"], names)
        connection.execute(_SQL["add_group"], names)
        return self._found_group(connection)


def _row(event: ProductEvent) -> list[str]:
    fields = event.as_text()
    return [fields[name] for name in ("event_type", "product_id", "timestamp", "data")]


def _raw(fields: Sequence[bytes | None]) -> dict[bytes, bytes]:
    present = zip(codec.FIELDS, fields, strict=True)
    return {name.encode(): value for name, value in present if value is not None}


def _at(entry_id: str) -> dict[str, int]:
    return {"position": Position.parse(entry_id).major}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
