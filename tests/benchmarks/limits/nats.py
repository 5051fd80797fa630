"""nats-py: publications sent before the first is acknowledged, fetch, acks sent the same way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import nats
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StorageType
from nats.js.errors import NotFoundError

BATCH = 200
EVENTS_IN_FLIGHT = 1000
STREAM, GROUP, SUBJECT = "bare", "bare", "bare.events"


def publisher(address: str, payloads: Sequence[str]) -> Callable[[], None]:
    runner = asyncio.Runner()
    client = runner.run(nats.connect(address))
    runner.run(_fresh(client))

    async def publish() -> None:
        jetstream = client.jetstream()
        for at in range(0, len(payloads), EVENTS_IN_FLIGHT):
            some = payloads[at : at + EVENTS_IN_FLIGHT]
            await asyncio.gather(*(jetstream.publish(SUBJECT, p.encode()) for p in some))

    def run() -> None:
        with runner:
            runner.run(publish())
            runner.run(client.close())

    return run


def drainer(address: str) -> Callable[[], int]:
    runner = asyncio.Runner()
    client = runner.run(nats.connect(address))

    async def drain() -> int:
        subscription = await client.jetstream().pull_subscribe_bind(GROUP, STREAM)
        done = 0
        is_more = True
        while is_more:
            messages = await subscription.fetch(BATCH)
            await asyncio.gather(*(message.ack() for message in messages))
            await client.flush()
            done += len(messages)
            is_more = messages[-1].metadata.num_pending > 0
        return done

    def run() -> int:
        with runner:
            done = runner.run(drain())
            runner.run(client.close())
        return done

    return run


async def _fresh(client: Client) -> None:
    jetstream = client.jetstream()
    with contextlib.suppress(NotFoundError):
        await jetstream.delete_stream(STREAM)
    await jetstream.add_stream(name=STREAM, subjects=[SUBJECT], storage=StorageType.FILE)
    await jetstream.add_consumer(
        STREAM,
        ConsumerConfig(
            durable_name=GROUP, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=EVENTS_IN_FLIGHT
        ),
    )
