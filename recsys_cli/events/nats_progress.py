"""How far a consumer group has come on NATS: looking at it delivers nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from recsys_cli.connections.nats_protocol import text_of
from recsys_cli.deliveries import PendingEvent
from recsys_cli.domain import (
    ConsumerStatus,
    GroupStatus,
    Position,
    ProductEvent,
    StreamStatus,
)
from recsys_cli.errors import GroupMissing
from recsys_cli.events import codec
from recsys_cli.events import nats_api as api
from recsys_cli.events.nats_api import Facts, Missing, Stored
from recsys_cli.events.nats_group import GROUP_NAME, Group
from recsys_cli.events.nats_ledger import NOBODY, Hold, Ledger, Runs
from recsys_cli.events.nats_names import Names, decode, entry_id

if TYPE_CHECKING:
    from nats.aio.client import Client

    from recsys_cli.connections.nats import NatsConnection

_PAGE = 1000
_BODIES = 50
"""Read in one go: each may be as large as a message can be."""

_NO_STATE: Facts = {"messages": 0, "last_seq": 0}


class Progress:
    def __init__(self, connection: NatsConnection, stream: str, names: Names, group: Group) -> None:
        self._connection = connection
        self._stream = stream
        self._names = names
        self._group = group

    def status(self) -> StreamStatus:
        return self._connection.call(self._status)

    def pending(
        self, limit: int, *, min_idle_ms: int = 0, consumer: str | None = None
    ) -> list[PendingEvent]:
        async def pending(client: Client) -> list[PendingEvent]:
            ledger = await self._group.look(client)
            now_ms = self._group.now_ms()
            chosen = [
                (number, hold)
                for number, hold in sorted(ledger.holds.items())
                if consumer in (None, hold.consumer) and hold.idle_ms(now_ms) >= min_idle_ms
            ][: max(limit, 0)]
            events = []
            for start in range(0, len(chosen), _BODIES):
                events += await self._described(client, chosen[start : start + _BODIES], now_ms)
            return events

        try:
            return self._connection.call(pending)
        except GroupMissing:
            return []

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        """Yield what is on the stream and not done, whoever holds it."""
        last, done = self._connection.call(self._reach)
        start = 1
        while start <= last:
            page = self._connection.call(lambda client, start=start: self._page(client, start))  # type: ignore[misc]
            if not page:
                return
            for message in page:
                raw = decode(message.body)
                event = None if message.sequence in done else codec.decode(raw)
                if isinstance(event, ProductEvent) and message.sequence <= last:
                    yield codec.place(raw, entry_id(message.sequence)), event
            start = page[-1].sequence + 1

    async def _reach(self, client: Client) -> tuple[int, Runs]:
        """Return the last sequence there is, and what the group has done."""
        state = await self._state(client, self._names.stream)
        try:
            ledger = await self._group.look(client)
        except GroupMissing:
            return state["last_seq"], Runs()
        return state["last_seq"], Runs(ledger.done)

    async def _page(self, client: Client, start: int) -> list[Stored]:
        try:
            names = self._names
            return await api.page(client, names.stream, names.subjects, start, _PAGE)
        except Missing:
            return []

    async def _status(self, client: Client) -> StreamStatus:
        names = self._names
        state, dead, (consumers, silent) = await asyncio.gather(
            self._state(client, names.stream),
            self._state(client, names.dead),
            api.consumers(client, names.stream),
        )
        if self._group.durable in silent:
            raise api.nobody_leads()
        ledgers = await self._ledgers(client, consumers)
        try:
            ours = await self._group.look(client)
        except GroupMissing:
            ours = Ledger("")
        now_ms = self._group.now_ms()
        mine = next((c for c in consumers if c["name"] == self._group.durable), None)
        oldest = ours.holds[min(ours.holds)] if ours.holds else None
        return StreamStatus(
            stream=self._stream,
            group=self._group.name,
            length=state["messages"],
            last_entry_id=entry_id(state["last_seq"]),
            lag=state["messages"] if mine is None else mine["num_pending"],
            pending=0 if mine is None else mine["num_ack_pending"],
            oldest_pending_ms=oldest.idle_ms(now_ms) if oldest else None,
            dead_letters=dead["messages"],
            consumers=_consumers(ours, now_ms),
            groups=[_group(c, ledgers.get(c["name"]), now_ms) for c in consumers]
            + [GroupStatus(name=text_of(name)) for name in silent],
        )

    async def _ledgers(self, client: Client, consumers: Sequence[Facts]) -> dict[str, Ledger]:
        """Return by consumer the ledgers of groups that are ours, and not of earlier ones."""
        ours = [c for c in consumers if _name(c) is not None]
        replies = await api.ask_many(
            client,
            [api.get(self._names.groups, last_by_subj=self._names.ledger(c["name"])) for c in ours],
        )
        ledgers = {}
        for consumer, reply in zip(ours, replies, strict=True):
            stored = api.found(reply)
            ledger = Ledger.decode(stored.body if stored else b"")
            if ledger.made == consumer["created"]:
                ledgers[consumer["name"]] = ledger
        return ledgers

    async def _described(
        self, client: Client, held: Sequence[tuple[int, Hold]], now_ms: int
    ) -> list[PendingEvent]:
        names, durable = self._names, self._group.durable
        bodies = [api.get(names.stream, seq=number) for number, _ in held]
        failures = [
            api.get(names.groups, last_by_subj=names.failure(durable, number)) for number, _ in held
        ]
        replies = [api.found(reply) for reply in await api.ask_many(client, bodies + failures)]
        return [
            _pending_event(number, hold, now_ms, body, failure)
            for (number, hold), body, failure in zip(
                held, replies[: len(held)], replies[len(held) :], strict=True
            )
        ]

    async def _state(self, client: Client, stream: str) -> Facts:
        try:
            state: Facts = (await api.ask(client, f"STREAM.INFO.{stream}"))["state"]
        except Missing:
            return _NO_STATE
        return state


def _pending_event(
    number: int, hold: Hold, now_ms: int, body: Stored | None, failure: Stored | None
) -> PendingEvent:
    fields = codec.printable(decode(body.body)) if body else {}
    return PendingEvent(
        entry_id=entry_id(number),
        product_id=fields.get("product_id"),
        event_type=fields.get("event_type"),
        consumer=hold.consumer,
        idle_ms=hold.idle_ms(now_ms),
        deliveries=hold.attempts,
        failure=codec.failure(failure.body if failure else None),
    )


def _consumers(ledger: Ledger, now_ms: int) -> list[ConsumerStatus]:
    held: dict[str, int] = {}
    for hold in ledger.holds.values():
        held[hold.consumer] = held.get(hold.consumer, 0) + 1
    held.pop(NOBODY, None)
    return [
        ConsumerStatus(
            name=name,
            pending=held.get(name, 0),
            idle_ms=max(now_ms - ledger.seen[name], 0) if name in ledger.seen else None,
        )
        for name in sorted(held.keys() | ledger.seen.keys())
    ]


def _group(consumer: Mapping[str, object], ledger: Ledger | None, now_ms: int) -> GroupStatus:
    seen = ledger.seen.values() if ledger else ()
    facts = dict(consumer)
    return GroupStatus(
        name=_name(facts) or str(facts["name"]),
        lag=facts["num_pending"],  # type: ignore[arg-type]
        pending=facts["num_ack_pending"],  # type: ignore[arg-type]
        idle_ms=max(now_ms - max(seen), 0) if seen else None,
    )


def _name(consumer: Facts) -> str | None:
    """Return the name of a group of ours, None of other programs' consumers."""
    name = consumer["config"].get("metadata", {}).get(GROUP_NAME)
    return None if name is None else str(name)
