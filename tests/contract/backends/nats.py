from __future__ import annotations

import pytest

from recsys_cli.ports import Catalog, DeadLetters, EventProcessor
from tests.nats_cluster import NatsCluster
from tests.nats_server import NatsServer


class NatsBackend:
    """``login``: what NatsConnection takes beside the URL."""

    def __init__(self, url: str, **login: str) -> None:
        self._url = url
        self._login = login

    def events(
        self, *, group: str = "product-processors", claim_idle_ms: int = 60_000
    ) -> EventProcessor:
        from recsys_cli.connections.nats import NatsConnection
        from recsys_cli.events.nats_stream import NatsStream

        return NatsStream(
            NatsConnection(self._url, **self._login),
            stream="product:updates",
            group=group,
            claim_idle_ms=claim_idle_ms,
        )

    def dead_letters(self) -> DeadLetters:
        from recsys_cli.connections.nats import NatsConnection
        from recsys_cli.events.nats_letters import NatsDeadLetters

        return NatsDeadLetters(NatsConnection(self._url, **self._login), stream="product:updates")

    def catalog(self) -> Catalog:
        from recsys_cli.catalogs.nats_kv import NatsCatalog
        from recsys_cli.connections.nats import NatsConnection

        return NatsCatalog(NatsConnection(self._url, **self._login))


@pytest.fixture
def nats_backend(nats_server: NatsServer) -> NatsBackend:
    return NatsBackend(nats_server.url)


@pytest.fixture
def nats_cluster_backend(nats_cluster: NatsCluster) -> NatsBackend:
    """Each connection goes to any of three servers, and everything has three replicas."""
    return NatsBackend(nats_cluster.url)
