"""Fetching from a durable consumer; nothing is left under way when a fetch returns."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from nats.js.errors import APIError

from recsys_cli.events.nats_api import REQUEST_TIMEOUT_S
from recsys_cli.events.nats_ledger import Hold

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

_MOST_BYTES = 64 * 1024 * 1024
"""As large as one message can be at most; a fetch ends before it has more."""

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
    """Add up to ``count`` messages to the fetch; wait for the first where there is none yet.

    ``consumer``: ``{stream}.{durable}``. Raises ConsumerGone.
    """
    await _next(client, consumer, fetch, count, 0)
    if fetch.messages or wait_s <= 0:
        return
    await _next(client, consumer, fetch, 1, wait_s)
    if fetch.messages and count > 1:
        await _next(client, consumer, fetch, count - 1, 0)


async def _next(client: Client, consumer: str, fetch: Fetch, count: int, wait_s: float) -> None:
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    left = count

    async def take(message: Msg) -> None:
        nonlocal left
        status = (message.headers or {}).get("Status") if not message.reply else None
        if status is None:
            # $JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{...}
            tokens = message.reply.split(".")
            fetch.messages[int(tokens[-4])] = Fetched(int(tokens[-5]), message.data)
            left -= 1
        if (status is not None or not left) and not over.done():
            over.set_result(status or "")

    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=take)
    request: dict[str, object] = {"batch": count, "max_bytes": _MOST_BYTES}
    request |= {"expires": round(wait_s * 1e9)} if wait_s > 0 else {"no_wait": True}
    try:
        await client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{consumer}", msgspec.json.encode(request), reply=inbox
        )
        status = await asyncio.wait_for(over, wait_s + REQUEST_TIMEOUT_S)
    finally:
        await subscription.unsubscribe()
    if status in _GONE and not fetch.messages:
        raise ConsumerGone
    if status and status not in _ENDS + _GONE:
        raise APIError(code=int(status), description="the consumer refuses to deliver")
