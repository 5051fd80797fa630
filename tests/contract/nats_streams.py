"""The stream on NATS as its tests open it, and what another program does to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nats.aio.client import Client

from recsys_cli.connections.nats import NatsConnection
from recsys_cli.deliveries import Delivery, Failure
from recsys_cli.domain import EventType, ProductEvent
from recsys_cli.events.nats_stream import NatsStream
from tests.nats_server import NatsServer
from tests.servers import wait_until

NAME = "product-updates"
GROUP = "product-processors"
SENT = {"event_type": "create", "product_id": "p-1", "timestamp": "", "data": {"name": "Lamp"}}

Open = Callable[..., NatsStream]


@pytest.fixture
def opened(nats_server: NatsServer, closing: Callable[[object], None]) -> Open:
    def open_(group: str = GROUP, claim_idle_ms: int = 60_000) -> NatsStream:
        events = NatsStream(
            NatsConnection(nats_server.url),
            stream="product:updates",
            group=group,
            claim_idle_ms=claim_idle_ms,
        )
        closing(events)
        events.create_group()
        return events

    return open_


def changed(product_id: str, name: str) -> ProductEvent:
    return ProductEvent(
        type=EventType.UPDATE, product_id=product_id, fields={"name": name}, timestamp="now"
    )


def names(deliveries: list[Delivery]) -> list[object]:
    return [d.event.fields["name"] for d in deliveries if isinstance(d.event, ProductEvent)]


def sent(server: NatsServer, body: bytes, subject: str = "product.updates.any") -> None:
    """Publish as another program would: a plain message on the subject."""

    async def last(client: Client) -> int:
        return (await client.jetstream().stream_info(NAME)).state.last_seq

    async def publish(client: Client) -> None:
        await client.publish(subject, body)
        await client.flush()

    before = server.ask(last)
    server.ask(publish)
    wait_until(lambda: server.ask(last) > before, 20, "the message is stored")


def failed_once(events: NatsStream) -> Delivery:
    """Publish an event, and return its second delivery; the first has failed."""
    events.publish([changed("a", "one")])
    (held,) = events.receive("c", 1, 0)
    failure = Failure(attempt=1, error="oh", first_failed_at="", last_failed_at="")
    events.postpone(held, failure, 0)
    (again,) = events.receive("c", 1, 1000)
    return again


def failures(server: NatsServer) -> int:
    """Return how many failures are on record."""

    async def count(client: Client) -> int:
        subjects = f"$KV.{NAME}-groups.*.failure.*"
        info = await client.jetstream().stream_info(f"KV_{NAME}-groups", subjects)
        return len(info.state.subjects or {})

    return server.ask(count)
