"""Every combination of backends that the tests run a whole shop on, as settings."""

from __future__ import annotations

import pytest

from tests.servers import RedisServer

SHOPS = ("embedded", "redis")


def shop_settings(shop: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the settings of a shop on empty backends, which the request's fixtures run."""
    match shop:
        case "embedded":
            return {}
        case "redis":
            redis: RedisServer = request.getfixturevalue("redis_server")
            return {"REDIS_URL": redis.url}
        case _:
            raise ValueError(shop)
