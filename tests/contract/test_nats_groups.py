"""Consumer groups on NATS: what becomes of the stream, whoever makes and drops them meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from nats.aio.client import Client
from nats.errors import ConnectionClosedError
from nats.js.api import ConsumerConfig, DeliverPolicy

from recsys_cli.errors import BackendUnavailable, GroupMissing
from recsys_cli.events import nats_api
from recsys_cli.events.nats_group import Group
from recsys_cli.events.nats_ledger import Ledger
from tests.contract.nats_streams import (
    GROUP,
    NAME,
    Open,
    changed,
    failed_once,
    failures,
    opened,
)
from tests.nats_server import NatsServer
from tests.servers import wait_until

__all__ = ["opened"]

Before: TypeAlias = Callable[[str, Callable[[], object]], None]

ask = nats_api.ask


def test_while_a_group_cannot_be_asked_nothing_is_trimmed(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster that lost the leader of its consumer; the list takes four seconds then."""
    events, lists = opened(), []

    async def without_one(client: Client, call: str, *request: Any) -> nats_api.Facts:
        facts = await ask(client, call, *request)
        if call.startswith("CONSUMER.LIST"):
            lists.append(call)
            return facts | {"total": 2, "missing": ["other"]}
        return facts

    monkeypatch.setattr(nats_api, "ask", without_one)
    events.publish([changed("a", "one"), changed("a", "two")])
    for _ in range(2):
        events.acknowledge(events.receive("c", 1, 0))
    assert len(lists) == 1, "nor does every batch wait for it"
    groups = {group.name: group for group in events.status().groups}
    assert groups["other"].lag is None
    assert not groups["other"].seems_unused, "nothing is known of it"
    assert groups[GROUP].lag == 0
    monkeypatch.undo()
    assert events.status().length == 2
    opened("other")
    assert events.drop_group("other")
    assert events.status().length == 0


def test_a_group_that_slips_from_one_page_of_the_list_to_another_loses_nothing(
    opened: Open, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, slipping = opened(), opened("b")
    events.publish([changed("a", "one")])
    new = ConsumerConfig(deliver_policy=DeliverPolicy.NEW)

    async def fill_the_first_page(client: Client) -> None:
        for number in range(256):
            name = f"a{number:03}"
            await client.jetstream().pull_subscribe("", durable=name, stream=NAME, config=new)

    async def change_the_first_page(client: Client, call: str, *request: Any) -> nats_api.Facts:
        facts = await ask(client, call, *request)
        if call.startswith("CONSUMER.LIST") and facts["offset"] == 0:
            assert await client.jetstream().delete_consumer(NAME, "a000")
            await client.jetstream().pull_subscribe("", durable="z", stream=NAME, config=new)
        return facts

    nats_server.ask(fill_the_first_page)
    assert {group.name for group in events.status().groups} >= {GROUP, "a000", "a255", "b"}
    monkeypatch.setattr(nats_api, "ask", change_the_first_page)
    events.acknowledge(events.receive("c", 1, 0))
    assert len(slipping.receive("c", 1, 0)) == 1


def test_a_group_of_our_own_that_cannot_be_asked_is_not_told_from_memory(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = opened()

    async def without_ours(client: Client, call: str, *request: Any) -> nats_api.Facts:
        facts = await ask(client, call, *request)
        if call.startswith("CONSUMER.LIST"):
            return facts | {"consumers": [], "missing": [GROUP]}
        return facts

    monkeypatch.setattr(nats_api, "ask", without_ours)
    with pytest.raises(BackendUnavailable):
        events.status()


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Before:
    """Have something done by others just before a call of JetStream's, the first time."""

    def before_(call: str, act: Callable[[], object]) -> None:
        left = [act]

        async def late(client: Client, asked: str, *request: Any) -> nats_api.Facts:
            if asked.startswith(call) and left:
                await asyncio.to_thread(left.pop())
            return await ask(client, asked, *request)

        monkeypatch.setattr(nats_api, "ask", late)

    return before_


def deleted(server: NatsServer, stream: str) -> None:
    server.ask(lambda client: client.jetstream().delete_stream(stream))


@pytest.mark.parametrize("gone", ["stream", "consumer"])
def test_a_group_that_goes_while_it_is_adopted_is_missing(
    opened: Open, nats_server: NatsServer, before: Before, gone: str
) -> None:
    opened(claim_idle_ms=60_000)
    events = opened(claim_idle_ms=30_000)
    if gone == "stream":
        before("CONSUMER.CREATE", lambda: deleted(nats_server, NAME))
    else:
        before("CONSUMER.CREATE", lambda: opened("other").drop_group(GROUP))
    with pytest.raises(GroupMissing, match=GROUP):
        events.receive("c", 1, 0)


def test_a_group_whose_stream_goes_while_it_is_made_is_missing(
    opened: Open, nats_server: NatsServer, before: Before
) -> None:
    before("CONSUMER.CREATE", lambda: deleted(nats_server, NAME))
    with pytest.raises(GroupMissing, match=GROUP):
        opened()


def test_a_stream_that_goes_while_it_is_trimmed_is_no_trouble(
    opened: Open, nats_server: NatsServer, before: Before
) -> None:
    events = opened()
    events.publish([changed("a", "one")])
    held = events.receive("c", 1, 0)
    before("STREAM.PURGE", lambda: deleted(nats_server, NAME))
    events.acknowledge(held)
    assert events.status().length == 0


def test_a_group_can_be_dropped_after_its_ledger(opened: Open, nats_server: NatsServer) -> None:
    events = opened()
    opened("other")
    events.publish([changed("a", "one")])
    events.acknowledge(events.receive("c", 1, 0))
    deleted(nats_server, f"KV_{NAME}-groups")
    assert events.drop_group("other")
    assert events.status().length == 0, "and nothing is kept for it"


def test_of_two_that_make_a_group_at_once_each_may_have_a_claim_time_of_its_own(
    opened: Open, before: Before
) -> None:
    opened("other")
    before("CONSUMER.CREATE", lambda: opened(claim_idle_ms=30_000))
    events = opened(claim_idle_ms=60_000)
    events.publish([changed("a", "one")])
    assert len(events.receive("c", 1, 0)) == 1


def test_the_failure_of_an_event_goes_though_its_consumer_is_killed_when_it_is_done(
    opened: Open, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = opened(claim_idle_ms=1000)
    again = failed_once(events)
    assert failures(nats_server) == 1
    change = Group.change

    async def killed(group: Group, client: Client, act: Callable[[Ledger], object]) -> object:
        await change(group, client, act)
        raise ConnectionClosedError

    with monkeypatch.context() as dying:
        dying.setattr(Group, "change", killed)
        with pytest.raises(BackendUnavailable):
            events.acknowledge([again])

    other = opened(claim_idle_ms=1000)
    wait_until(
        lambda: other.receive("d", 1, 100) == [] and not failures(nats_server),
        20,
        "whoever gets the event next drops the failure",
    )
    assert other.status().pending == 0
