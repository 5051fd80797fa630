"""Every combination of backends that the tests run a whole shop on."""

from __future__ import annotations

import pytest

from tests.nats_server import NatsServer
from tests.postgres import PostgresServer
from tests.servers import RedisServer

EVENT_SHOPS = ("embedded", "redis", "nats", "supabase")
"""One for each backend of events; NATS has its embeddings in the embedded file."""

ONE_EACH = (*EVENT_SHOPS, "embedded+pinecone")
"""One for each backend. ``a+b``: events and catalog on a, embeddings on b."""

VECTOR_SHOPS = ("embedded", "redis", "supabase")
"""One for each backend of embeddings that shows at once what was written."""

SHOPS = (*ONE_EACH, "redis+pinecone", "nats+pinecone")


def move_to(shop: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what leads the command line to a shop on empty backends, which fixtures run."""
    for name, value in _settings(shop, request).items():
        monkeypatch.setenv(name, value)


def _settings(shop: str, request: pytest.FixtureRequest) -> dict[str, str]:
    match shop.split("+"):
        case ["embedded"]:
            return {}
        case ["redis"]:
            redis: RedisServer = request.getfixturevalue("redis_server")
            return {"REDIS_URL": redis.url}
        case [events, "pinecone"]:
            from tests.pinecone_server import PineconeServer

            server: PineconeServer = request.getfixturevalue("pinecone_server")
            return _settings(events, request) | server.settings
        case ["supabase"]:
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            return postgres.settings
        case ["nats"]:
            nats: NatsServer = request.getfixturevalue("nats_server")
            return nats.settings
        case _:
            raise ValueError(shop)
