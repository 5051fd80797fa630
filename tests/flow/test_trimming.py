"""What every group has acknowledged leaves the stream, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from recsys_cli.connections.redis import RedisConnection
from recsys_cli.domain import EventType, ProductEvent
from recsys_cli.events.redis_streams import RedisStreams
from tests.commands import Recsys
from tests.servers import RedisServer

STREAM = "product:updates"


@pytest.fixture(params=["acknowledge-and-delete", "acknowledge-and-trim"])
def url(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[str]:
    """Redis as it is from 8.2 on, and as a user sees it who has no XACKDEL, as before 8.2."""
    if request.param == "acknowledge-and-delete":
        yield redis_server.url
        return
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "old", "on", ">pw", "~*", "+@all", "-xackdel")
        yield redis_server.url.replace("127", "old:pw@127")
        client.execute_command("ACL", "DELUSER", "old")


def opened(url: str, group: str = "product-processors") -> RedisStreams:
    stream = RedisStreams(RedisConnection(url), stream=STREAM, group=group, claim_idle_ms=60_000)
    stream.create_group()
    return stream


def some(count: int) -> list[ProductEvent]:
    return [
        ProductEvent(type=EventType.CREATE, product_id=f"p{n}", fields={"name": "Desk lamp"})
        for n in range(count)
    ]


def drain(stream: RedisStreams, most: int = 1_000_000) -> None:
    while most > 0 and (deliveries := stream.receive("c", min(most, 1000), 0)):
        stream.acknowledge(deliveries)
        most -= len(deliveries)


def memory(client: redis.Redis) -> int:
    return int(client.execute_command("MEMORY", "USAGE", STREAM, "SAMPLES", 0) or 0)  # type: ignore[no-untyped-call]


def test_after_a_drain_of_100_000_events_the_memory_is_back(
    url: str, redis_server: RedisServer
) -> None:
    events = opened(url)
    with redis_server.client() as client:
        before = memory(client)
        events.publish(some(100_000))
        full = memory(client)
        drain(events)
        after = memory(client)
    assert full > 10_000_000
    assert after - before < full / 1000
    assert events.status().length <= 1
    events.close()


def test_what_another_group_needs_stays_until_it_has_it(url: str) -> None:
    events, other = opened(url), opened(url, "other")
    events.publish(some(3_000))
    drain(other, 1_000)
    held = other.receive("c", 10, 0)
    drain(events)
    assert events.status().length >= 2_000
    assert len(list(other.backlog())) == 2_000, "ten of them pending"
    other.acknowledge(held)
    drain(other)
    assert other.status().length <= 1
    events.close()
    other.close()


def test_a_group_that_nobody_uses_is_named_and_can_be_dropped(recsys: Recsys) -> None:
    recsys("import", "sample_data/products.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRODUCT_STREAM_GROUP", "old-mails")
        recsys("consume", "--drain", "--max-events", 2)
    assert "old-mails" in recsys("lag").out
    recsys("consume", "--drain")

    # Who leaves takes the name along, and so the group has no consumers.
    said = recsys("lag").err

    assert "the group old-mails has no consumers now, and keeps 150 events on the stream" in said
    assert "recsys group drop old-mails" in said
    recsys("group", "drop", "old-mails", "--yes")
    assert recsys("lag").err.count("\n") == 1
    assert recsys("lag", "--json").json["length"] <= 1
