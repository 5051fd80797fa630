"""What the stream promises on a cluster of NATS that loses a server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from recsys_cli.connections.nats import NatsConnection
from recsys_cli.deliveries import Delivery
from recsys_cli.domain import StreamStatus
from recsys_cli.errors import BackendUnavailable
from recsys_cli.events.nats_stream import NatsStream
from tests.contract.nats_streams import NAME, changed
from tests.nats_cluster import NatsCluster
from tests.servers import wait_until


@pytest.mark.long
def test_what_a_group_without_a_leader_has_not_read_is_not_trimmed(
    nats_cluster: NatsCluster, closing: Callable[[object], None]
) -> None:
    kept = nats_cluster.meta_leader()
    lost = next(name for name in nats_cluster.servers if name != kept)
    quick, slow = (
        NatsStream(
            NatsConnection(nats_cluster.servers[kept].url),
            stream="product:updates",
            group=group,
            claim_idle_ms=60_000,
        )
        for group in ("quick", "slow")
    )
    for events in (quick, slow):
        closing(events)
        events.create_group()
    quick.publish([changed("a", str(number)) for number in range(50)])
    held = quick.receive("c", 50, 10_000)
    for led in (f"STREAM.{NAME}", f"STREAM.KV_{NAME}-groups", f"CONSUMER.{NAME}.quick"):
        nats_cluster.lead(led, kept)
    nats_cluster.lead(f"CONSUMER.{NAME}.slow", lost)

    received: list[Delivery] = []

    def has_all() -> bool:
        with suppress(BackendUnavailable):
            received.extend(slow.receive("c", 50, 1_000))
        return len(received) == len(held)

    with nats_cluster.without(lost, kill=True):
        quick.acknowledge(held)
        wait_until(has_all, 60, "the slow group receives all")
    slow.acknowledge(received)
    assert slow.status().length == 0


@pytest.mark.long
def test_a_consumer_of_another_program_whose_server_is_away_holds_nobody_up(
    nats_cluster: NatsCluster, closing: Callable[[object], None]
) -> None:
    kept = nats_cluster.meta_leader()
    events = NatsStream(
        NatsConnection(nats_cluster.servers[kept].url),
        stream="product:updates",
        group="ours",
        claim_idle_ms=60_000,
    )
    closing(events)
    events.create_group()

    async def place(client: Client) -> tuple[str, str]:
        """Make consumers of one replica until one is on another server."""
        jetstream = client.jetstream(timeout=20)
        for number in range(100):
            config = ConsumerConfig(durable_name=f"other-{number}", num_replicas=1)
            info = await jetstream.add_consumer(NAME, config)
            leader = info.cluster and info.cluster.leader
            if leader and leader != kept:
                return str(info.name), leader
        raise AssertionError("all are on one server")

    other, lost = nats_cluster.ask(place)
    for led in (f"STREAM.{NAME}", f"STREAM.KV_{NAME}-groups", f"CONSUMER.{NAME}.ours"):
        nats_cluster.lead(led, kept)

    def status() -> StreamStatus | None:
        with suppress(BackendUnavailable):
            return events.status()
        return None

    with nats_cluster.without(lost, kill=True):
        wait_until(status, 30, "the stream tells how things stand")
        groups = {group.name: group for group in events.status().groups}
        assert groups["ours"].lag == 0
        assert groups[other].lag is None
