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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NamedTuple, TypeAlias

import msgspec

from recsys_cli.connections.sqlite import EmbeddedFile, named_queries
from recsys_cli.domain import (
    ConsumerStatus,
    DeadLetter,
    Delivery,
    Health,
    PendingEvent,
    Position,
    ProductEvent,
    StreamStatus,
    UndecodableEvent,
)
from recsys_cli.events import codec

_SQL = named_queries(Path(__file__).with_suffix(".sql"))
_FIELDS = ("event_type", "product_id", "timestamp", "data")
_POLL_S = 0.02
_SEEN_EVERY_MS = 1_000
_PAGE = 1_000

# Whose turn it is, see the query "due".
_LEFT, _NEW = 1, 3

_Parameters: TypeAlias = dict[str, str | int | None]

_letter_decoder = msgspec.json.Decoder(DeadLetter)


class _Inherited(NamedTuple):
    """What a consumer's predecessor left, at positions in (after, until]."""

    until: int
    after: int = 0


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
            self._acknowledge(connection, [delivery.position for delivery in deliveries])

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        with self._file.transaction() as connection:
            stream = self._opened_group(connection)["stream"]
            connection.executemany(
                _SQL["add_dead_letter"],
                [(stream, msgspec.json.encode(letter).decode()) for letter in letters],
            )
            self._acknowledge(connection, [Position.parse(letter.entry_id) for letter in letters])

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        with self._file.reading() as connection:
            rows = connection.execute(
                _SQL["dead_letters"], self._found_group(connection) | {"count": limit}
            ).fetchall()
        return [_letter_decoder.decode(letter) for (letter,) in reversed(rows)]

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        with self._file.reading() as connection:
            (until,) = connection.execute(_SQL["last_position"]).fetchone()
        page = {"after": 0, "until": until, "count": _PAGE}
        while True:
            with self._file.reading() as connection:
                group = self._found_group(connection)
                rows = connection.execute(_SQL["backlog"], group | page).fetchall()
            for number, *fields in rows:
                if isinstance(event := _event(fields), ProductEvent):
                    yield Position(number, 0), event
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
        return StreamStatus(
            stream=self._stream,
            group=self._group,
            length=length,
            lag=lag,
            pending=pending,
            oldest_pending_ms=oldest_ms,
            dead_letters=dead_letters,
            consumers=[
                ConsumerStatus(name=name, pending=held, idle_ms=idle_ms)
                for name, idle_ms, held in consumers
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
            )
            for number, product_id, event_type, holder, idle_ms, attempts in rows
        ]

    def health(self) -> Health:
        return self._file.health("events")

    def close(self) -> None:
        self._file.close()

    def _introduce(self, consumer: str) -> None:
        """Make the group, note when the consumer asked, and what its predecessor left."""
        now_ms = _now_ms()
        me: _Parameters = {"consumer": consumer, "now_ms": now_ms}
        with self._file.reading() as connection:
            group = self._found_group(connection) | me
            seen = connection.execute(_SQL["last_seen"], group).fetchone()
            (last_held,) = connection.execute(_SQL["last_held"], group).fetchone()
        self._inherited.setdefault(consumer, _Inherited(until=last_held))
        if seen is None or now_ms - seen[0] >= _SEEN_EVERY_MS:
            with self._file.transaction() as connection:
                connection.execute(_SQL["see_consumer"], self._opened_group(connection) | me)

    def _is_work_due(self, consumer: str) -> bool:
        with self._file.reading() as connection:
            return bool(self._due(connection, self._found_group(connection), consumer, 1))

    def _hand_out(self, consumer: str, count: int) -> list[Delivery]:
        with self._handing_out:
            with self._file.transaction() as connection:
                group = self._opened_group(connection)
                due = self._due(connection, group, consumer, count)
                change = group | {
                    "consumer": consumer,
                    "now_ms": _now_ms(),
                    "positions": json.dumps([position for position, _ in due]),
                    "newest": max((position for position, turn in due if turn == _NEW), default=0),
                }
                for query in ("hand_out", "advance_group", "see_consumer"):
                    connection.execute(_SQL[query], change)
                rows = connection.execute(_SQL["handed_out"], change).fetchall()
            left = [position for position, turn in due if turn == _LEFT]
            # Less than asked for: the predecessor left nothing more.
            after = left[-1] if len(left) == count else self._inherited[consumer].until
            self._inherited[consumer] = self._inherited[consumer]._replace(after=after)
        return self._deliveries(rows)

    def _due(
        self, connection: Connection, group: _Parameters, consumer: str, count: int
    ) -> list[tuple[int, int]]:
        wanted = {
            "consumer": consumer,
            "count": count,
            "now_ms": _now_ms(),
            "claim_idle_ms": self._claim_idle_ms,
        }
        inherited = self._inherited[consumer]._asdict()
        return connection.execute(_SQL["due"], group | wanted | inherited).fetchall()

    def _deliveries(self, rows: Iterable[Sequence[Any]]) -> list[Delivery]:
        """Return the rows as deliveries; those that are no events are acknowledged here."""
        decoded = [(Position(row[0], 0), row[1], _event(row[2:])) for row in rows]
        if no_events := [position for position, _, event in decoded if event is None]:
            with self._file.transaction() as connection:
                self._acknowledge(connection, no_events)
        return [
            Delivery(entry_id=str(position), position=position, attempt=attempt, event=event)
            for position, attempt, event in decoded
            if event is not None
        ]

    def _acknowledge(self, connection: Connection, positions: Sequence[Position]) -> None:
        done = {"positions": json.dumps([position.major for position in positions])}
        group = self._found_group(connection)
        connection.execute(_SQL["acknowledge"], group | done)
        connection.execute(_SQL["delete_acknowledged_by_all"], group | done)

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
    return [fields[name] for name in _FIELDS]


def _event(fields: Sequence[bytes | None]) -> ProductEvent | UndecodableEvent | None:
    present = zip(_FIELDS, fields, strict=True)
    return codec.decode({name.encode(): value for name, value in present if value is not None})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
