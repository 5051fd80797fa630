"""The stream of events on NATS JetStream: a stream, and a durable pull consumer for each group.

Delivery is explicit-ack and unlimited (``max_deliver`` -1): the server never drops an event by
itself; ``attempt`` tells the pipeline when to give it up. Who holds what, since when and on which
attempt stands in the group's ledger (see ``nats_ledger``), because the server's own count rises for
every event of a batch when only one of them may have killed its consumer. The server's count serves
where the ledger has nothing: for what was fetched by a process that died before it could note it.

A batch is one fetch and one compare-and-set, and when it is done one more and its acknowledgements,
sent one behind the other. An acknowledgement goes to ``$JS.ACK.{stream}.{consumer}...``, a subject
made from the sequence: the server looks at nothing else in it, so anybody may acknowledge or renew
what another has fetched.

The stream keeps all events (``limits`` retention: ``interest`` would drop what is published before
the first group) and is purged below the lowest acknowledgement of all its consumers, also of those
that other programs have on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from nats.errors import NoRespondersError

from recsys_cli.connections.nats_client import replicas_in
from recsys_cli.deliveries import DeadLetter, Delivery, Failure, PendingEvent
from recsys_cli.domain import Health, Position, ProductEvent, StreamStatus
from recsys_cli.errors import GroupMissing
from recsys_cli.events import codec, nats_letters
from recsys_cli.events import nats_api as api
from recsys_cli.events.nats_group import MOST_HELD, Group
from recsys_cli.events.nats_ledger import Hold, Ledger
from recsys_cli.events.nats_names import Names, decode, entry_id, sequence
from recsys_cli.events.nats_progress import Progress
from recsys_cli.events.nats_publish import Publisher
from recsys_cli.events.nats_pull import ConsumerGone, Fetch, pull

if TYPE_CHECKING:
    from nats.aio.client import Client

    from recsys_cli.connections.nats import NatsConnection

_LONGEST_WAIT_S = 5.0
_LONGEST_UNSEEN_S = 1.0
_TRIM_EVERY_S = 1.0
_UNTRIMMED_S = 30.0
"""Longer where a consumer cannot be asked: the server waits for it, and so do we."""

_PAUSE_S = 0.05
_WITHIN_A_SERVER_S, _BETWEEN_SERVERS_S, _AN_EVENT_S = 0.02, 0.05, 0.0001
_FRESH = 0.8
"""Of the time after which the server delivers again: what was fetched must be noted by then."""

_BYTES_A_CHARACTER = 8
"""More than any takes in JSON."""

_IN_PROGRESS = b"+WPI"


class NatsStream:
    """See ports.EventProcessor. ``claim_idle_ms``: how long a consumer may hold an event unseen."""

    def __init__(
        self,
        connection: NatsConnection,
        *,
        stream: str,
        group: str,
        claim_idle_ms: int,
    ) -> None:
        self._connection = connection
        self._names = Names(stream)
        self._group = Group(self._names, group, claim_idle_ms=claim_idle_ms)
        self._publisher = Publisher(connection, self._names, self._group)
        self._progress = Progress(connection, stream, self._names, self._group)
        self._claim_idle_ms = claim_idle_ms
        self._left: dict[str, set[int]] = {}
        self._stuck: dict[str, tuple[int, Hold]] = {}
        self._unnoted: dict[str, Fetch] = {}
        self._next_look_s = 0.0
        self._trimmed_s = 0.0

    def publish(self, events: Sequence[ProductEvent]) -> list[Position]:
        return self.begin_publish(events)()

    def begin_publish(self, events: Sequence[ProductEvent]) -> Callable[[], list[Position]]:
        return self._publisher.begin(events)

    def create_group(self) -> bool:
        return self._connection.call(self._group.create)

    def drop_group(self, name: str) -> bool:
        return self._connection.call(lambda client: self._group.drop(client, name))

    def receive(self, consumer: str, count: int, block_ms: int) -> list[Delivery]:
        deadline_s = time.monotonic() + block_ms / 1000
        while True:
            left_s = deadline_s - time.monotonic()
            wait_s = min(left_s, _LONGEST_WAIT_S)
            deliveries = self._connection.call(
                lambda client, wait_s=wait_s: self._receive(client, consumer, count, wait_s)  # type: ignore[misc]
            )
            if deliveries or left_s <= 0:
                return deliveries

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        numbers = [sequence(delivery.entry_id) for delivery in deliveries]
        again = [n for n, d in zip(numbers, deliveries, strict=True) if d.attempt > 1]
        with suppress(GroupMissing):
            self._connection.call(lambda client: self._finish(client, numbers, again))

    def postpone(self, delivery: Delivery, failure: Failure, delay_ms: int) -> None:
        idle_ms = max(0, self._claim_idle_ms - delay_ms)
        subject = self._names.failure(self._group.durable, sequence(delivery.entry_id))

        async def postpone(client: Client) -> None:
            if await self._hold(client, [delivery], idle_ms=idle_ms):
                error = failure.error[: client.max_payload // _BYTES_A_CHARACTER]
                kept = msgspec.structs.replace(failure, error=error)
                await api.put(client, subject, msgspec.json.encode(kept))

        with suppress(GroupMissing):
            self._connection.call(postpone)

    def renew(self, deliveries: Sequence[Delivery]) -> None:
        async def renew(client: Client) -> None:
            for number in await self._hold(client, deliveries, idle_ms=0):
                await client.publish(self._ack_subject(number), _IN_PROGRESS)

        with suppress(GroupMissing):
            self._connection.call(renew)

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        async def bury(client: Client) -> None:
            ledger = await self._group.look(client)
            pending = {sequence(e.entry_id): e for e in letters}
            pending = {n: letter for n, letter in pending.items() if n in ledger.holds}
            try:
                await self._keep(client, pending.values())
            except NoRespondersError:
                await api.make_streams(client, self._names)
                await self._keep(client, pending.values())
            await self._finish(client, list(pending), list(pending))

        with suppress(GroupMissing):
            self._connection.call(bury)

    def forget_consumers(self, names: Sequence[str]) -> list[str]:
        try:
            return self._connection.call(
                lambda client: self._group.change(client, lambda ledger: ledger.forget(names))
            )
        except GroupMissing:
            return []

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        return self._progress.backlog()

    def status(self) -> StreamStatus:
        return self._progress.status()

    def pending(
        self, limit: int, *, min_idle_ms: int = 0, consumer: str | None = None
    ) -> list[PendingEvent]:
        return self._progress.pending(limit, min_idle_ms=min_idle_ms, consumer=consumer)

    def health(self) -> Health:
        return self._connection.health("events", self._names.stream)

    def close(self) -> None:
        self._connection.close()

    async def _receive(
        self, client: Client, consumer: str, count: int, wait_s: float
    ) -> list[Delivery]:
        deadline_s = time.monotonic() + wait_s
        while True:
            await self._look(client, consumer)
            if again := await self._again(client, consumer):
                return again
            now_s = time.monotonic()
            # Never longer than until it is time to look again for what is due.
            patience_s = max(min(deadline_s, self._next_look_s) - now_s, _least_s(client, count))
            fetch = self._unnoted.pop(consumer, None) or Fetch(self._hold_of(consumer))
            try:
                if not fetch.messages:
                    await pull(client, self._consumer, fetch, count, patience_s)
                if deliveries := await self._noted(client, fetch):
                    return deliveries
            except ConsumerGone:
                # For good, which looking tells, or while a cluster has no leader for it.
                self._next_look_s = 0.0
                await self._look(client, consumer)
                await asyncio.sleep(_PAUSE_S)
            except BaseException:
                if fetch.messages:
                    self._unnoted[consumer] = fetch
                raise
            if not fetch.messages and time.monotonic() >= deadline_s:
                return []

    async def _look(self, client: Client, consumer: str) -> None:
        """See now and then what others have left, and be seen."""
        is_first = consumer not in self._left
        if not is_first and time.monotonic() < self._next_look_s:
            return
        ledger = await self._group.look(client)
        if is_first:
            await self._group.adopt(client)
            held = {n for n, hold in ledger.holds.items() if hold.consumer == consumer}
            self._left[consumer] = held
        now_ms = self._group.now_ms()
        await self._group.change(client, lambda ledger: ledger.seen.update({consumer: now_ms}))
        every_s = min(self._claim_idle_ms / 4000, _LONGEST_UNSEEN_S)
        self._next_look_s = time.monotonic() + every_s

    async def _again(self, client: Client, consumer: str) -> list[Delivery]:
        """Hand out one event that was delivered before, if one is due."""
        left, claim_ms = self._left[consumer], self._claim_idle_ms

        def take(ledger: Ledger) -> tuple[int, Hold] | None:
            now_ms = self._group.now_ms()
            taken = self._stuck.pop(consumer, None)
            if taken is None or not ledger.hold(dict([taken]), now_ms):
                number = ledger.due(consumer, left, now_ms, claim_ms)
                if number is None:
                    return None
                taken = number, ledger.take(number, consumer, now_ms)
            # Where it gets no further now, the next call goes on: nobody has had it, so it counts
            # once.
            self._stuck[consumer] = taken
            return taken

        due = self._group.ledger.due(consumer, left, self._group.now_ms(), claim_ms)
        if due is None and consumer not in self._stuck:
            return []
        taken = await self._group.change(client, take)
        if taken is None:
            return []
        number, hold = taken
        left.discard(number)
        delivery = await self._with_history(client, number, hold)
        self._stuck.pop(consumer, None)
        if delivery is None:
            await self._finish(client, [number], [])
            return []
        return [delivery]

    async def _with_history(self, client: Client, number: int, hold: Hold) -> Delivery | None:
        names = self._names
        failure = names.failure(self._group.durable, number)
        await client.publish(self._ack_subject(number), _IN_PROGRESS)
        body, story = await api.ask_many(
            client,
            [api.get(names.stream, seq=number), api.get(names.groups, last_by_subj=failure)],
        )
        message, last = api.found(body), api.found(story)
        return codec.delivery(
            None if message is None else decode(message.body),
            entry_id=entry_id(number),
            consumer=hold.consumer,
            attempt=hold.attempts,
            failure=codec.failure(last.body if last else None),
        )

    async def _noted(self, client: Client, fetch: Fetch) -> list[Delivery]:
        """Note what was fetched; return what is ours, and what is an event."""
        if not fetch.messages:
            return []
        deliveries = {
            number: codec.delivery(
                decode(message.body),
                entry_id=entry_id(number),
                consumer=fetch.mine.consumer,
                attempt=1,
            )
            for number, message in fetch.messages.items()
        }
        no_events = {number for number, delivery in deliveries.items() if delivery is None}
        counts = {number: message.deliveries for number, message in fetch.messages.items()}
        longest_s = _FRESH * self._group.ack_wait_ms / 1000

        def note(ledger: Ledger) -> tuple[list[int], list[int]]:
            if time.monotonic() - fetch.began_s > longest_s:
                # The server may have delivered it to others by now, and will again.
                return [], []
            return ledger.note(counts, no_events, fetch.mine, self._group.now_ms())

        taken, done = await self._group.change(client, note)
        if done:
            await self._settle(client, done, [number for number in done if number not in no_events])
        return [delivery for n in taken if (delivery := deliveries[n]) is not None]

    async def _finish(self, client: Client, numbers: list[int], again: list[int]) -> None:
        """Note as done and acknowledge; those of ``again`` may have a failure on record."""
        if not numbers:
            return
        await self._group.change(client, lambda ledger: ledger.finish(numbers))
        await self._settle(client, numbers, again)
        every_s = _TRIM_EVERY_S if self._group.ledger.holds else 0.0
        if time.monotonic() >= self._trimmed_s + every_s:
            is_trimmed = await api.trim(client, self._names.stream)
            self._trimmed_s = time.monotonic() + (0.0 if is_trimmed else _UNTRIMMED_S)

    async def _settle(self, client: Client, numbers: list[int], again: list[int]) -> None:
        await api.settle(client, self._names, self._group.durable, numbers, again)

    async def _keep(self, client: Client, letters: Iterable[DeadLetter]) -> None:
        await nats_letters.keep(client, self._names, self._group.name, list(letters))

    async def _hold(
        self, client: Client, deliveries: Sequence[Delivery], *, idle_ms: int
    ) -> list[int]:
        held = {sequence(d.entry_id): Hold(d.consumer, 0, d.attempt) for d in deliveries}
        since_ms = self._group.now_ms() - idle_ms
        return await self._group.change(client, lambda ledger: ledger.hold(held, since_ms))

    def _hold_of(self, consumer: str) -> Hold:
        return Hold(consumer, self._group.now_ms(), 1)

    @property
    def _consumer(self) -> str:
        return f"{self._names.stream}.{self._group.durable}"

    def _ack_subject(self, number: int) -> str:
        return self._names.acknowledgement(self._group.durable, number)


def _least_s(client: Client, count: int) -> float:
    """Return how long a fetch may take at least: what was just published is under way so long.

    And what is fetched takes its time: a large fetch is not to be cut short.
    """
    lag_s = _BETWEEN_SERVERS_S if replicas_in(client) > 1 else _WITHIN_A_SERVER_S
    return lag_s + min(count, MOST_HELD) * _AN_EVENT_S
