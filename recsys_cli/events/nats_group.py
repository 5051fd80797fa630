"""A consumer group on NATS: the durable consumer, and the ledger beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from nats.errors import NoRespondersError
from nats.js.errors import APIError

from recsys_cli.connections.nats_protocol import CONSUMER_EXISTS
from recsys_cli.errors import GroupMissing
from recsys_cli.events import nats_api as api
from recsys_cli.events.nats_api import Conflict, Facts, Missing
from recsys_cli.events.nats_ledger import Ledger
from recsys_cli.events.nats_names import Names, token

if TYPE_CHECKING:
    from nats.aio.client import Client

GROUP_NAME = "recsys_group"
"""The group's name as it was given, in the consumer's metadata."""

MOST_HELD = 5_000
"""More is not delivered: the ledger must fit into one message, of a megabyte as servers come."""

SHORTEST_ACK_WAIT_MS = 1_000
"""Below that the server would deliver again what is only just being noted."""

_NANOSECONDS = 1_000_000
_SLOWEST_MS = 1_000_000

Result = TypeVar("Result")


class Group:
    """All methods run on the connection's event loop."""

    def __init__(self, names: Names, name: str, *, claim_idle_ms: int) -> None:
        self.name = name
        self.durable = token(name)
        self.ledger = Ledger("")
        self.was_made = False
        self.ack_wait_ms = max(claim_idle_ms, SHORTEST_ACK_WAIT_MS)
        self._names = names
        self._raw = b""
        self._revision: int | None = None
        self._ahead_ms = 0
        self._quickest_ms = _SLOWEST_MS
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    def now_ms(self) -> int:
        """Return the time by the server's clock, so that all consumers go by the same."""
        return _clock_ms() + self._ahead_ms

    async def create(self, client: Client) -> bool:
        """Make the group, and the streams it needs; return False where it was there."""
        await api.make_streams(client, self._names)
        self._revision = None
        is_new = await self._make(client)
        self.was_made = True
        return is_new

    async def _make(self, client: Client) -> bool:
        with suppress(Missing):
            await self._info(client)
            return False
        config = {
            "durable_name": self.durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": self.ack_wait_ms * _NANOSECONDS,
            "max_deliver": -1,
            "max_ack_pending": MOST_HELD,
            "metadata": {GROUP_NAME: self.name},
        }
        try:
            await self._configure(client, config, "create")
        except APIError as error:
            if error.err_code != CONSUMER_EXISTS:  # just made, to wait for longer or not so long
                raise
            return False
        return True

    async def drop(self, client: Client, name: str) -> bool:
        """Remove a group, its ledger, and what only it still kept on the stream."""
        names, durable = self._names, token(name)
        try:
            await api.ask(client, f"CONSUMER.DELETE.{names.stream}.{durable}")
        except Missing:
            return False
        for subject in (names.ledger(durable), names.failure(durable, "*")):
            with suppress(Missing):
                await api.ask(client, f"STREAM.PURGE.{names.groups}", {"filter": subject})
        await api.trim(client, names.stream)
        return True

    async def look(self, client: Client) -> Ledger:
        """Read the ledger as it is now. Raises GroupMissing."""
        async with self._locked():
            return await self._look(client)

    async def adopt(self, client: Client) -> None:
        """Have the server wait as long as we do before it delivers what nobody has noted."""
        wanted = self.ack_wait_ms * _NANOSECONDS
        with self._there():
            config = (await self._info(client))["config"]
        if config.get("ack_wait") != wanted:
            await self._configure(client, config | {"ack_wait": wanted}, "update")

    async def change(self, client: Client, act: Callable[[Ledger], Result]) -> Result:
        """Have ``act`` change the ledger, as often as others are faster; return its result.

        Raises GroupMissing.
        """
        async with self._locked():
            while True:
                ledger = self.ledger if self._revision is not None else await self._look(client)
                revision, self._revision = self._revision or 0, None
                result = act(ledger)
                raw = ledger.encode()
                if raw != self._raw:
                    try:
                        revision = await self._put(client, raw, revision)
                    except Conflict:
                        continue
                    except NoRespondersError:
                        # Somebody has deleted the ledgers: what was held, the server delivers.
                        await api.make_streams(client, self._names)
                        continue
                self._raw, self._revision = raw, revision
                return result

    async def _put(self, client: Client, raw: bytes, expected: int) -> int:
        return await api.put(client, self._names.ledger(self.durable), raw, expected)

    async def _look(self, client: Client) -> Ledger:
        self._revision = None
        groups, subject = self._names.groups, self._names.ledger(self.durable)
        asked_ms = _clock_ms()
        with self._there():
            info, stored = await asyncio.gather(
                self._info(client), api.get_one(client, groups, last_by_subj=subject)
            )
        self._compare_clocks(asked_ms, info.get("ts"))
        self._raw = stored.body if stored else b""
        ledger = Ledger.decode(self._raw)
        if ledger.made != info["created"]:
            ledger = Ledger(info["created"])
        ledger.done.add(0, info["ack_floor"]["stream_seq"])
        self.ledger, self._revision = ledger, stored.sequence if stored else 0
        return ledger

    def _compare_clocks(self, asked_ms: int, server_said: str | None) -> None:
        """Go by the quickest of the answers so far, which is the closest; it ages a little."""
        trip_ms = _clock_ms() - asked_ms
        self._quickest_ms += 1
        if server_said is not None and trip_ms <= self._quickest_ms:
            self._quickest_ms = trip_ms
            self._ahead_ms = api.milliseconds(server_said) - asked_ms - trip_ms // 2

    @contextmanager
    def _there(self) -> Iterator[None]:
        try:
            yield
        except Missing:
            raise GroupMissing(
                f"the stream {self._names.stream} has no consumer group {self.name}"
            ) from None

    async def _info(self, client: Client) -> Facts:
        return await api.ask(client, f"CONSUMER.INFO.{self._names.stream}.{self.durable}")

    async def _configure(self, client: Client, config: Facts, action: str) -> None:
        stream, named = self._names.stream, {**config, "name": self.durable}
        request = {"stream_name": stream, "config": named, "action": action}
        with self._there():
            await api.ask(client, f"CONSUMER.CREATE.{stream}.{self.durable}", request)

    def _locked(self) -> asyncio.Lock:
        # A lock belongs to one event loop, and a connection that was closed begins another.
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]


def _clock_ms() -> int:
    return time.time_ns() // _NANOSECONDS
