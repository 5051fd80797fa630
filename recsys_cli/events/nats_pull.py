"""Fetching from a durable consumer; nothing is left under way when a fetch returns."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from nats.js.errors import APIError

from recsys_cli.connections.nats_protocol import REQUEST_TIMEOUT_S
from recsys_cli.events.nats_ledger import Hold

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

_MOST_BYTES = 64 * 1024 * 1024
"""As large as one message can be at most; a fetch ends before it has more."""

_LATECOMERS_S = 1.0
_ENDS = ("404", "408")
_GONE = ("409", "503")


class Fetched(NamedTuple):
    """A message; ``deliveries``: how often the server has delivered it."""

    deliveries: int
    body: bytes


@dataclass
class Fetch:
    """What was fetched for ``mine`` and is not noted yet; ``began_s`` by the monotonic clock."""

    mine: Hold
    began_s: float = field(default_factory=time.monotonic)
    messages: dict[int, Fetched] = field(default_factory=dict)


class ConsumerGone(Exception):
    """There is no such consumer (any longer), or it cannot be asked now."""


async def pull(client: Client, consumer: str, fetch: Fetch, count: int, wait_s: float) -> None:
    """Add up to ``count`` messages to the fetch: those there are, or the first within ``wait_s``.

    ``consumer``: ``{stream}.{durable}``. Raises ConsumerGone.
    """
    answers = _Answers(fetch, count)
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=answers.take)
    request = {
        "batch": count,
        "no_wait": True,
        "max_bytes": _MOST_BYTES,
        # Without it there is no answer, even to half a batch, where the group may hold no more.
        "expires": round(wait_s * 1e9),
    }
    try:
        await client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{consumer}", msgspec.json.encode(request), reply=inbox
        )
        status = await asyncio.wait_for(answers.end, wait_s + REQUEST_TIMEOUT_S)
        # A cluster agrees on what it delivers first, and may be quicker to say that this is all.
        with suppress(TimeoutError):
            await asyncio.wait_for(answers.all_there.wait(), _LATECOMERS_S)
    finally:
        await subscription.unsubscribe()
    if status in _GONE and not fetch.messages:
        raise ConsumerGone
    if status and status not in _ENDS + _GONE:
        raise APIError(code=int(status), description="the consumer refuses to deliver")


class _Answers:
    """``end`` becomes the status of the answer that is none of the messages, or empty."""

    def __init__(self, fetch: Fetch, count: int) -> None:
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.all_there = asyncio.Event()
        self._fetch = fetch
        self._count = count
        self._expected = count
        self._seen = 0

    async def take(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status", "") if not message.reply else ""
        if status:
            missing = headers.get("Nats-Pending-Messages")
            self._expected = self._seen if missing is None else self._count - int(missing)
        else:
            # $JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{...}
            tokens = message.reply.split(".")
            self._fetch.messages[int(tokens[-4])] = Fetched(int(tokens[-5]), message.data)
            self._seen += 1
        is_whole = self._seen >= self._expected
        if is_whole:
            self.all_there.set()
        if (status or is_whole) and not self.end.done():
            self.end.set_result(status)
