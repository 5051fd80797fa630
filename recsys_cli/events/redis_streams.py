"""The stream on Redis: one stream, one consumer group, dead letters in ``{stream}:dead``.

An acknowledged event is deleted in the same step when every group has acknowledged it (XACKDEL,
Redis 8.2); XACK alone frees no memory, and trimming by length would take what nobody has read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from recsys_cli.connections.redis import (
    Command,
    CommandUnavailable,
    ErrorReply,
    RedisConnection,
    Reply,
    pairs,
)
from recsys_cli.domain import (
    DeadLetter,
    Delivery,
    Health,
    PendingEvent,
    Position,
    ProductEvent,
    StreamStatus,
)
from recsys_cli.events import codec, redis_letters
from recsys_cli.events.redis_progress import GroupProgress, group_is_gone

_PAGE = 500
_LONGEST_BLOCK_MS = 5_000
"""Below the connection's answer timeout; a longer wait is made of several."""

_LONGEST_UNCLAIMED_MS = 1_000
_THROUGH = "through"
"""Instead of a cursor: nothing is left over from an earlier process."""


class RedisStreams:
    """See ports.EventProcessor. ``claim_idle_ms``: how long a consumer may hold an event unseen.

    ``lost`` counts the deliveries whose event was gone from the stream: trimmed or deleted by
    somebody before it was acknowledged.
    """

    def __init__(
        self, connection: RedisConnection, *, stream: str, group: str, claim_idle_ms: int
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._group = group
        self._dead = redis_letters.key(stream)
        self._claim_idle_ms = claim_idle_ms
        self._progress = GroupProgress(connection, stream=stream, group=group)
        self._receiving = threading.Lock()
        self._own_cursors: dict[str, str] = {}
        self._claim_cursor = "0-0"
        self._next_claim_s = 0.0
        self._deletes_when_acknowledged = True
        self._group_was_made = False
        self.lost = 0

    def publish(self, events: Sequence[ProductEvent]) -> list[Position]:
        if events and not self._group_was_made:
            self._make_group()
        entry_ids = self._connection.pipeline(self._xadd(event) for event in events)
        return [Position.parse(entry_id.decode()) for entry_id in entry_ids]

    def receive(self, consumer: str, count: int, block_ms: int) -> list[Delivery]:
        deadline_s = time.monotonic() + block_ms / 1000
        while True:
            try:
                with self._receiving:
                    deliveries = self._left_over(consumer, count)
                    deliveries += self._claimed(consumer, count - len(deliveries))
                left_ms = 0 if deliveries else round((deadline_s - time.monotonic()) * 1000)
                fresh, got_some = self._new(consumer, count - len(deliveries), left_ms)
            except ErrorReply as error:
                if not group_is_gone(error.reply):
                    raise
                self._make_group()
                continue
            deliveries += fresh
            # Entries that are no events do not count as an answer.
            if deliveries or not (got_some or time.monotonic() < deadline_s):
                return deliveries

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._acknowledge([delivery.entry_id for delivery in deliveries])

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        # Two trips: where one letter cannot be kept, nothing is acknowledged.
        self._connection.pipeline(
            ("XADD", self._dead, "*", *redis_letters.encode(letter)) for letter in letters
        )
        self._acknowledge([letter.entry_id for letter in letters])

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        newest = self._connection.call("XREVRANGE", self._dead, "+", "-", "COUNT", limit)
        return [redis_letters.decode(pairs(raw)) for _, raw in reversed(newest)]

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

    def _xadd(self, event: ProductEvent) -> Command:
        fields = event.as_text()
        return ("XADD", self._stream, "*", *(part for field in fields.items() for part in field))

    def _make_group(self) -> None:
        try:
            self._connection.call("XGROUP", "CREATE", self._stream, self._group, "0", "MKSTREAM")
        except ErrorReply as error:
            if not error.reply.startswith("BUSYGROUP"):
                raise
        self._group_was_made = True

    def _left_over(self, consumer: str, count: int) -> list[Delivery]:
        """Return what an earlier process of the same name left; nothing once that is through."""
        cursor = self._own_cursors.get(consumer, "0-0")
        if cursor == _THROUGH:
            return []
        entries = self._read(consumer, count, cursor)
        self._own_cursors[consumer] = entries[-1][0].decode() if len(entries) == count else _THROUGH
        return self._deliveries(consumer, entries, again=True)

    def _claimed(self, consumer: str, count: int) -> list[Delivery]:
        """Return what some consumer has held for too long, looking for it only now and then."""
        deliveries: list[Delivery] = []
        while len(deliveries) < count and time.monotonic() >= self._next_claim_s:
            cursor, entries, *gone = self._connection.call(
                *("XAUTOCLAIM", self._stream, self._group, consumer, self._claim_idle_ms),
                *(self._claim_cursor, "COUNT", count - len(deliveries)),
            )
            self._claim_cursor = cursor.decode()
            if self._claim_cursor == "0-0":
                self._next_claim_s = time.monotonic() + self._claim_every_s
            self.lost += len(gone[0]) if gone else 0
            deliveries += self._deliveries(consumer, entries, again=True)
        return deliveries

    def _new(self, consumer: str, count: int, block_ms: int) -> tuple[list[Delivery], bool]:
        """Return new deliveries, and whether there were entries at all."""
        if count <= 0:
            return [], False
        until_claim_ms = round((self._next_claim_s - time.monotonic()) * 1000)
        block_ms = min(block_ms, _LONGEST_BLOCK_MS, max(until_claim_ms, 1))
        entries = self._read(consumer, count, ">", block_ms)
        return self._deliveries(consumer, entries, again=False), bool(entries)

    @property
    def _claim_every_s(self) -> float:
        return min(self._claim_idle_ms / 4, _LONGEST_UNCLAIMED_MS) / 1000

    def _read(self, consumer: str, count: int, after: str, block_ms: int = 0) -> list[Reply]:
        # To Redis, BLOCK 0 is for ever.
        block = ("BLOCK", block_ms) if block_ms > 0 else ()
        reply = self._connection.call(
            *("XREADGROUP", "GROUP", self._group, consumer, "COUNT", count, *block),
            *("STREAMS", self._stream, after),
        )
        entries: list[Reply] = reply[0][1] if reply else []
        return entries

    def _deliveries(self, consumer: str, entries: list[Reply], *, again: bool) -> list[Delivery]:
        """Return the entries as deliveries; those that are none are acknowledged."""
        events = {}
        for entry_id, raw in entries:
            event = codec.decode(pairs(raw)) if raw else None
            if event is not None:
                events[entry_id.decode()] = event
            self.lost += not raw
        self._acknowledge([i for entry_id, _ in entries if (i := entry_id.decode()) not in events])
        attempts = self._attempts(consumer, list(events)) if again else {}
        return [
            Delivery(
                entry_id=entry_id,
                position=Position.parse(entry_id),
                attempt=attempts.get(entry_id, 1),
                event=event,
            )
            for entry_id, event in events.items()
        ]

    def _attempts(self, consumer: str, entry_ids: list[str]) -> dict[str, int]:
        replies = self._connection.pipeline(
            ("XPENDING", self._stream, self._group, entry_id, entry_id, 1, consumer)
            for entry_id in entry_ids
        )
        return {
            entry_id: rows[0][3] for entry_id, rows in zip(entry_ids, replies, strict=True) if rows
        }

    def _acknowledge(self, entry_ids: Sequence[str]) -> None:
        batches = [entry_ids[start : start + _PAGE] for start in range(0, len(entry_ids), _PAGE)]
        if self._deletes_when_acknowledged:
            try:
                self._connection.pipeline(
                    ("XACKDEL", self._stream, self._group, "ACKED", "IDS", len(batch), *batch)
                    for batch in batches
                )
            except CommandUnavailable:
                self._deletes_when_acknowledged = False
        if not self._deletes_when_acknowledged:
            self._connection.pipeline(
                ("XACK", self._stream, self._group, *batch) for batch in batches
            )
            self._progress.trim()
