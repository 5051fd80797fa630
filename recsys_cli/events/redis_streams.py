"""The stream on Redis: one stream, one consumer group, dead letters in ``{stream}:dead``.

An acknowledged event is deleted in the same step when every group has acknowledged it (XACKDEL,
Redis 8.2); XACK alone frees no memory, and trimming by length would take what nobody has read.

Whose turn a pending event is, its idle time says: whoever asks takes what has been idle for the
claim time (XAUTOCLAIM). To try again in two seconds is to be idle for the claim time less two
seconds. What went wrong with an event is kept in the hash ``{stream}:failures:{group}``.

The scripts use two or three keys of the stream: on a cluster its name needs a ``{tag}``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from recsys_cli.connections.redis import (
    Command,
    CommandUnavailable,
    ErrorReply,
    GroupGone,
    LuaScript,
    RedisConnection,
    Reply,
    flat,
    pairs,
)
from recsys_cli.deliveries import DeadLetter, Delivery, Failure, PendingEvent
from recsys_cli.domain import Health, Position, ProductEvent, StreamStatus
from recsys_cli.errors import GroupMissing
from recsys_cli.events import codec, redis_letters
from recsys_cli.events.redis_progress import GroupProgress

_PAGE = 500
_LONGEST_BLOCK_MS = 5_000
"""Below the connection's answer timeout; a longer wait is made of several."""

_LONGEST_UNCLAIMED_MS = 1_000
_TRIM_EVERY_S = 10.0
_FAILURES_KEPT_S = 30 * 24 * 3600
_THROUGH = "through"
"""Instead of a cursor: nothing is left over from an earlier process."""

_HERE = Path(__file__).parent
_bury = LuaScript(_HERE / "redis_bury.lua")
_hold = LuaScript(_HERE / "redis_hold.lua")
_forget = LuaScript(_HERE / "redis_forget.lua")


class RedisStreams:
    """See ports.EventProcessor. ``claim_idle_ms``: how long a consumer may hold an event unseen."""

    def __init__(
        self, connection: RedisConnection, *, stream: str, group: str, claim_idle_ms: int
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._group = group
        self._failures = f"{stream}:failures:{group}"
        self._claim_idle_ms = claim_idle_ms
        self._progress = GroupProgress(connection, stream=stream, group=group)
        self._receiving = threading.Lock()
        self._own_cursors: dict[str, str] = {}
        self._claim_cursor = "0-0"
        self._next_claim_s = 0.0
        self._next_trim_s = 0.0
        self._deletes_when_acknowledged = True
        self._group_was_made = False

    def publish(self, events: Sequence[ProductEvent]) -> list[Position]:
        return self.begin_publish(events)()

    def begin_publish(self, events: Sequence[ProductEvent]) -> Callable[[], list[Position]]:
        if events and not self._group_was_made:
            self.create_group()
        replies = self._connection.begin(self._xadd(event) for event in events)
        return lambda: [Position.parse(entry_id.decode()) for entry_id in replies()]

    def create_group(self) -> bool:
        try:
            self._connection.call("XGROUP", "CREATE", self._stream, self._group, "0", "MKSTREAM")
        except ErrorReply as error:
            if not error.reply.startswith("BUSYGROUP"):
                raise
            is_new = False
        else:
            is_new = True
        self._group_was_made = True
        return is_new

    def drop_group(self, name: str) -> bool:
        try:
            existed = self._connection.call("XGROUP", "DESTROY", self._stream, name)
        except GroupGone:
            return False
        self._connection.call("DEL", f"{self._stream}:failures:{name}")
        self._progress.trim()
        return bool(existed)

    def receive(self, consumer: str, count: int, block_ms: int) -> list[Delivery]:
        deadline_s = time.monotonic() + block_ms / 1000
        try:
            while True:
                with self._receiving:
                    again = self._left_over(consumer) or self._claimed(consumer)
                if again:
                    return again
                left_ms = round((deadline_s - time.monotonic()) * 1000)
                entries = self._new(consumer, count, left_ms)
                if fresh := self._deliveries(consumer, entries):
                    return fresh
                # Entries that are no events do not count as an answer.
                if not entries and time.monotonic() >= deadline_s:
                    return []
        except GroupGone as error:
            raise GroupMissing(
                f"the stream {self._stream} has no consumer group {self._group}"
            ) from error

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._acknowledge([delivery.entry_id for delivery in deliveries])
        if again := [d.entry_id for d in deliveries if d.attempt > 1]:
            self._connection.call("HDEL", self._failures, *again)

    def postpone(self, delivery: Delivery, failure: Failure, delay_ms: int) -> None:
        self._connection.pipeline(
            [
                ("HSET", self._failures, delivery.entry_id, msgspec.json.encode(failure)),
                ("EXPIRE", self._failures, _FAILURES_KEPT_S),
            ]
        )
        self._hold([delivery], idle_ms=max(0, self._claim_idle_ms - delay_ms))

    def renew(self, deliveries: Sequence[Delivery]) -> None:
        self._hold(deliveries, idle_ms=0)

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        keys = (self._stream, redis_letters.key(self._stream), self._failures)
        self._connection.run(
            _bury,
            [(keys, (self._group, e.entry_id, *redis_letters.encode(e))) for e in letters],
        )

    def forget_consumers(self, names: Sequence[str]) -> list[str]:
        try:
            done = self._connection.run(
                _forget, [((self._stream,), (self._group, name)) for name in names]
            )
        except GroupGone:
            return []
        return [name for name, is_gone in zip(names, done, strict=True) if is_gone]

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        return self._progress.backlog()

    def status(self) -> StreamStatus:
        return self._progress.status()

    def pending(
        self, limit: int, *, min_idle_ms: int = 0, consumer: str | None = None
    ) -> list[PendingEvent]:
        events = self._progress.pending(limit, min_idle_ms=min_idle_ms, consumer=consumer)
        failures = self._connection.pipeline(
            ("HGET", self._failures, event.entry_id) for event in events
        )
        return [
            msgspec.structs.replace(event, failure=codec.failure(raw))
            for event, raw in zip(events, failures, strict=True)
        ]

    def health(self) -> Health:
        return self._connection.health("events")

    def close(self) -> None:
        self._connection.close()

    def _xadd(self, event: ProductEvent) -> Command:
        return ("XADD", self._stream, "*", *flat(event.as_text()))

    def _left_over(self, consumer: str) -> list[Delivery]:
        """Return one event that an earlier process of the same name left; none after the last."""
        while (cursor := self._own_cursors.get(consumer, "0-0")) != _THROUGH:
            entries = self._read(consumer, 1, cursor)
            self._own_cursors[consumer] = entries[0][0].decode() if entries else _THROUGH
            if deliveries := self._delivered_again(consumer, entries):
                return deliveries
        return []

    def _claimed(self, consumer: str) -> list[Delivery]:
        """Return one event that was held for too long, or lost ones; looks only now and then."""
        while time.monotonic() >= self._next_claim_s:
            cursor, entries, *gone = self._connection.call(
                *("XAUTOCLAIM", self._stream, self._group, consumer, self._claim_idle_ms),
                *(self._claim_cursor, "COUNT", 1),
            )
            self._claim_cursor = cursor.decode()
            if self._claim_cursor == "0-0":
                self._next_claim_s = time.monotonic() + self._claim_every_s
            lost = [[entry_id, None] for entry_id in (gone[0] if gone else [])]
            if deliveries := self._delivered_again(consumer, [*entries, *lost]):
                return deliveries
        return []

    def _new(self, consumer: str, count: int, block_ms: int) -> list[Reply]:
        until_claim_ms = round((self._next_claim_s - time.monotonic()) * 1000)
        block_ms = min(block_ms, _LONGEST_BLOCK_MS, max(until_claim_ms, 1))
        return self._read(consumer, count, ">", block_ms)

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

    def _deliveries(self, consumer: str, entries: Sequence[Reply]) -> list[Delivery]:
        """Return new entries as deliveries; those that are no events are acknowledged."""
        deliveries, no_events = [], []
        for raw_id, body in entries:
            entry_id, raw = raw_id.decode(), pairs(body) if body else None
            delivery = codec.delivery(raw, entry_id=entry_id, consumer=consumer, attempt=1)
            if delivery is None:
                no_events.append(entry_id)
            else:
                deliveries.append(delivery)
        self._acknowledge(no_events)
        return deliveries

    def _delivered_again(self, consumer: str, entries: Sequence[Reply]) -> list[Delivery]:
        return [
            self._with_history(delivery, consumer)
            for delivery in self._deliveries(consumer, entries)
        ]

    def _with_history(self, delivery: Delivery, consumer: str) -> Delivery:
        entry_id = delivery.entry_id
        rows, failure = self._connection.pipeline(
            [
                ("XPENDING", self._stream, self._group, entry_id, entry_id, 1, consumer),
                ("HGET", self._failures, entry_id),
            ]
        )
        return msgspec.structs.replace(
            delivery,
            attempt=rows[0][3] if rows else 2,
            failure=codec.failure(failure),
        )

    def _hold(self, deliveries: Sequence[Delivery], *, idle_ms: int) -> None:
        # Without its group nothing is held; whoever receives next is told.
        with contextlib.suppress(GroupGone):
            self._connection.run(
                _hold,
                [
                    ((self._stream,), (self._group, d.consumer, d.entry_id, idle_ms))
                    for d in deliveries
                ],
            )

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
        self._trim()

    def _trim(self) -> None:
        """Drop what every group has acknowledged; other groups may do so by XACK alone."""
        now_s = time.monotonic()
        if self._deletes_when_acknowledged and now_s < self._next_trim_s:
            return
        self._next_trim_s = now_s + _TRIM_EVERY_S
        self._progress.trim()
