from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys_cli.ports import Catalog, DeadLetters, EventProcessor, Generations, VectorStore
from tests import acl
from tests.acl import acl_user, operator_rules, pinecone_rules, worker_rules
from tests.servers import RedisServer
from tests.tls import Authority, tls_proxy


class RedisBackend:
    """``login``: user name, password, authorities, where more than a URL is needed."""

    def __init__(self, url: str, **login: str) -> None:
        self._url = url
        self._login = login

    def events(
        self, *, group: str = "product-processors", claim_idle_ms: int = 60_000
    ) -> EventProcessor:
        from recsys_cli.connections.redis import RedisConnection
        from recsys_cli.events.redis_streams import RedisStreams

        return RedisStreams(
            RedisConnection(self._url, **self._login),
            stream="product:updates",
            group=group,
            claim_idle_ms=claim_idle_ms,
        )

    def dead_letters(self) -> DeadLetters:
        from recsys_cli.connections.redis import RedisConnection
        from recsys_cli.events.redis_letters import RedisDeadLetters

        return RedisDeadLetters(RedisConnection(self._url, **self._login), stream="product:updates")

    def catalog(self) -> Catalog:
        from recsys_cli.catalogs.redis import RedisCatalog
        from recsys_cli.connections.redis import RedisConnection

        return RedisCatalog(RedisConnection(self._url, **self._login))

    def vectors(self, *, dimension: int = 384) -> VectorStore:
        from recsys_cli.connections.redis import RedisConnection
        from recsys_cli.vectors.redis_hnsw import RedisHnsw

        return RedisHnsw(
            RedisConnection(self._url, **self._login), index="product:vectors", dimension=dimension
        )

    def generations(self, *, dimension: int = 384) -> Generations:
        from recsys_cli.connections.redis import RedisConnection
        from recsys_cli.vectors.redis_generations import RedisGenerations

        return RedisGenerations(
            RedisConnection(self._url, **self._login), index="product:vectors", dimension=dimension
        )


@pytest.fixture
def redis_backend(redis_server: RedisServer) -> RedisBackend:
    return RedisBackend(redis_server.url)


@pytest.fixture
def redis_acl_backend(redis_server: RedisServer, authority: Authority) -> Iterator[RedisBackend]:
    """Redis over TLS, as the user that the README describes, who may do no more than needed."""
    with (
        tls_proxy(redis_server.port, authority.server_side("localhost")) as port,
        acl_user(redis_server, worker_rules() + operator_rules() + pinecone_rules()) as user,
    ):
        url = f"rediss://localhost:{port}/0"
        yield RedisBackend(url, username=user, password=acl.PASSWORD, ca_certs=str(authority.file))
