"""How far a consumer group has come on a Redis stream: looking at it delivers nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from recsys_cli.connections.redis import GroupGone, RedisConnection, Reply, pairs
from recsys_cli.deliveries import PendingEvent
from recsys_cli.domain import (
    BEGINNING,
    ConsumerStatus,
    GroupStatus,
    Position,
    ProductEvent,
    StreamStatus,
)
from recsys_cli.events import codec, redis_letters

_PAGE = 500
_MOST_COUNTED = 10_000

Body = dict[bytes, bytes]


class GroupProgress:
    def __init__(self, connection: RedisConnection, *, stream: str, group: str) -> None:
        self._connection = connection
        self._stream = stream
        self._group = group

    def status(self) -> StreamStatus:
        length = self._connection.call("XLEN", self._stream)
        last = pairs(self._ask("XINFO", "STREAM", self._stream)).get(b"last-generated-id", b"0-0")
        facts = list(map(pairs, self._ask("XINFO", "GROUPS", self._stream)))
        consumers = {codec.text(g[b"name"]): self._consumers(g[b"name"]) for g in facts}
        groups = [
            GroupStatus(
                name=name,
                lag=self._lag(g),
                pending=g[b"pending"],
                idle_ms=min((c.idle_ms or 0 for c in members), default=None),
            )
            for g, (name, members) in zip(facts, consumers.items(), strict=True)
        ]
        ours = next((group for group in groups if group.name == self._group), None)
        oldest = self._pending_rows("-", 1)
        return StreamStatus(
            stream=self._stream,
            group=self._group,
            length=length,
            last_entry_id=codec.text(last),
            lag=length if ours is None else ours.lag,
            pending=0 if ours is None else ours.pending or 0,
            oldest_pending_ms=oldest[0][2] if oldest else None,
            dead_letters=self._connection.call("XLEN", redis_letters.key(self._stream)),
            consumers=consumers.get(self._group, []),
            groups=groups,
        )

    def pending(
        self, limit: int, *, min_idle_ms: int = 0, consumer: str | None = None
    ) -> list[PendingEvent]:
        rows = self._pending_rows("-", limit, min_idle_ms=min_idle_ms, consumer=consumer)
        bodies = self._bodies(row[0] for row in rows)
        return [_pending_event(row, bodies.get(row[0], {})) for row in rows]

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        """Yield pending events, then undelivered ones: nothing pending is newer than those."""
        facts = self._facts()
        delivered = codec.text(facts[b"last-delivered-id"]) if facts else str(BEGINNING)
        last = self._connection.call("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        for page in _pages(lambda start: self._pending_rows(start, _PAGE, end=delivered)):
            yield from _events(self._bodies(row[0] for row in page).items())
        if last:
            end = last[0][0]
            for page in _pages(lambda start: self._entries(start, end), f"({delivered}"):
                yield from _events((entry_id, pairs(raw)) for entry_id, raw in page)

    def trim(self) -> None:
        """Drop what every group has acknowledged, for servers that do not do so by themselves."""
        first_needed = []
        for facts in map(pairs, self._ask("XINFO", "GROUPS", self._stream)):
            first_needed.append(_position(facts[b"last-delivered-id"]))
            summary = self._connection.call("XPENDING", self._stream, facts[b"name"])
            if summary[0]:
                first_needed.append(_position(summary[1]))
        if first_needed:
            self._connection.call("XTRIM", self._stream, "MINID", str(min(first_needed)))

    def _consumers(self, group: bytes) -> list[ConsumerStatus]:
        rows = map(pairs, self._ask("XINFO", "CONSUMERS", self._stream, group))
        return [
            ConsumerStatus(
                name=codec.text(row[b"name"]), pending=row[b"pending"], idle_ms=row[b"idle"]
            )
            for row in rows
        ]

    def _facts(self) -> dict[bytes, Reply] | None:
        for facts in map(pairs, self._ask("XINFO", "GROUPS", self._stream)):
            if facts[b"name"] == self._group.encode():
                return facts
        return None

    def _lag(self, facts: Mapping[bytes, Reply]) -> int | None:
        lag: int | None = facts.get(b"lag")
        if lag is not None:
            return lag
        # Redis has lost count, as it does after deletions: count them, unless they are too many.
        start = f"({codec.text(facts[b'last-delivered-id'])}"
        rows = self._connection.call("XRANGE", self._stream, start, "+", "COUNT", _MOST_COUNTED)
        return len(rows) if len(rows) < _MOST_COUNTED else None

    def _pending_rows(
        self,
        start: str,
        count: int,
        *,
        end: str = "+",
        min_idle_ms: int = 0,
        consumer: str | None = None,
    ) -> list[Reply]:
        """Return [entry id, consumer, idle ms, deliveries] of each, oldest position first."""
        idle = ("IDLE", min_idle_ms) if min_idle_ms > 0 else ()
        whose = () if consumer is None else (consumer,)
        return self._ask("XPENDING", self._stream, self._group, *idle, start, end, count, *whose)

    def _entries(self, start: str, end: str) -> list[Reply]:
        rows: list[Reply] = self._connection.call(
            "XRANGE", self._stream, start, end, "COUNT", _PAGE
        )
        return rows

    def _bodies(self, entry_ids: Iterable[bytes]) -> dict[bytes, Body]:
        """Return the entries that are still on the stream."""
        replies = self._connection.pipeline(
            ("XRANGE", self._stream, entry_id, entry_id) for entry_id in entry_ids
        )
        return {found[0][0]: pairs(found[0][1]) for found in replies if found}

    def _ask(self, *command: str | bytes | int) -> list[Reply]:
        """Return the rows of the reply, none where the group or the stream is missing."""
        try:
            rows: list[Reply] = self._connection.call(*command)
        except GroupGone:
            return []
        return rows


def _pages(read: Callable[[str], list[Reply]], start: str = "-") -> Iterator[list[Reply]]:
    while page := read(start):
        yield page
        start = f"({codec.text(page[-1][0])}"


def _events(entries: Iterable[tuple[bytes, Body]]) -> Iterator[tuple[Position, ProductEvent]]:
    for entry_id, raw in entries:
        event = codec.decode(raw)
        if isinstance(event, ProductEvent):
            yield codec.place(raw, entry_id.decode()), event


def _pending_event(row: Sequence[Reply], raw: Body) -> PendingEvent:
    fields = codec.printable(raw)
    entry_id, consumer, idle_ms, deliveries = row
    return PendingEvent(
        entry_id=codec.text(entry_id),
        product_id=fields.get("product_id"),
        event_type=fields.get("event_type"),
        consumer=codec.text(consumer),
        idle_ms=idle_ms,
        deliveries=deliveries,
    )


def _position(entry_id: bytes) -> Position:
    return Position.parse(entry_id.decode())
