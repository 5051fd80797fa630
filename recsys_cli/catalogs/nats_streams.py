"""What the key-value bucket and the object store have in common: each is one JetStream stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from nats.errors import NoRespondersError
from nats.js.api import StreamConfig
from nats.js.errors import APIError, BadRequestError, NoStreamResponseError, NotFoundError

from recsys_cli.connections.nats_protocol import (
    HEADROOM_BYTES,
    NO_MESSAGE,
    NO_STREAM,
    REQUEST_TIMEOUT_S,
    STREAM_EXISTS,
    WRONG_SEQUENCE,
    told,
)

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext
    from nats.js.api import RawStreamMsg

    from recsys_cli.connections.nats import NatsConnection

FIRST_PATIENCE_S = 0.5
PAUSE_S = 0.02
PART_BYTES = 512 * 1024
WRITTEN_WITHIN_S = 3600
"""Whoever writes something in parts is done by then, or never will be."""


class Made(Protocol):
    """What is made where it is missing."""

    async def create(self) -> None: ...


Store = TypeVar("Store", bound=Made)
Result = TypeVar("Result")


def run(
    connection: NatsConnection,
    make: Callable[[Client], Store],
    work: Callable[[Store], Awaitable[Result]],
) -> Result:
    """Run ``work`` on what ``make`` returns; where there is no stream, make it and run it again."""

    async def working(client: Client) -> Result:
        store = make(client)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REQUEST_TIMEOUT_S
        while True:
            try:
                return await work(store)
            except Exception as error:
                if not _is_missing(error) or loop.time() > deadline:
                    raise
            # In a cluster the replicas of a new stream answer a moment after its creation.
            await store.create()
            await asyncio.sleep(PAUSE_S)

    return connection.call(working)


async def create(jetstream: JetStreamContext, config: StreamConfig) -> None:
    """Make the stream unless it exists; made with other replicas or limits it is as they like."""
    try:
        await jetstream.add_stream(config)
    except BadRequestError as error:
        if error.err_code != STREAM_EXISTS:
            raise


async def by_leader(
    client: Client, stream: str, subject: str, start: int | None = None
) -> RawStreamMsg | None:
    """Return a subject's last message by the word of the leader, or its first from ``start`` on.

    None where there is none. Where no leader is elected yet nobody hears the question and nobody
    says so: it is asked again, with twice the patience.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REQUEST_TIMEOUT_S
    patience_s = FIRST_PATIENCE_S
    while True:
        jetstream = client.jetstream(timeout=patience_s)
        try:
            return await jetstream.get_msg(stream, start, subject, next=start is not None)
        except NotFoundError as error:
            if error.err_code != NO_MESSAGE:
                raise
            return None
        except TimeoutError:
            patience_s = min(2 * patience_s, deadline - loop.time())
            if patience_s <= 0:
                raise


async def publish(
    jetstream: JetStreamContext, subject: str, value: bytes, headers: dict[str, str]
) -> bool:
    """Publish; return False where ``headers`` expect another revision."""
    try:
        await jetstream.publish(subject, value, headers=headers)
    except APIError as error:
        if error.err_code in WRONG_SEQUENCE:
            return False
        raise
    return True


async def purge(client: Client, stream: str, subject: str, up_to: int | None = None) -> int:
    """Remove a subject's messages as if they had never been; return how many there were.

    ``up_to``: the last revision that goes.
    """
    request: dict[str, object] = {"filter": subject}
    if up_to is not None:
        request["seq"] = up_to + 1
    reply = await client.request(
        f"$JS.API.STREAM.PURGE.{stream}", json.dumps(request).encode(), timeout=REQUEST_TIMEOUT_S
    )
    return int(told(reply).get("purged", 0))


def room(client: Client) -> int:
    """Return how many bytes fit into one message, beside its subject and headers."""
    return min(PART_BYTES, max(client.max_payload - HEADROOM_BYTES, HEADROOM_BYTES))


def _is_missing(error: BaseException) -> bool:
    """Tell whether the error says that there is no stream (yet)."""
    if isinstance(error, NotFoundError):
        return error.err_code == NO_STREAM
    return isinstance(error, NoStreamResponseError | NoRespondersError)
