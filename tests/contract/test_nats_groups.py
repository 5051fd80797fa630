"""Consumer groups on NATS: what becomes of the stream, whoever makes and drops them meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy

from recsys_cli.errors import BackendUnavailable
from recsys_cli.events import nats_api
from tests.contract.nats_streams import GROUP, NAME, Open, changed, opened
from tests.nats_server import NatsServer

__all__ = ["opened"]

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
    with pytest.raises(BackendUnavailable):
        events.status()
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
