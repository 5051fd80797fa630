"""What the stream on NATS promises beyond the port: that it is JetStream, and whom it forgives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import ConnectionClosedError

from recsys_cli.connections.nats import NatsConnection
from recsys_cli.deliveries import LostEvent, UndecodableEvent
from recsys_cli.domain import ProductEvent
from recsys_cli.errors import BackendUnavailable, EventsTooLarge, GroupMissing
from recsys_cli.events import nats_api, nats_group
from recsys_cli.events.nats_names import encode
from recsys_cli.events.nats_stream import NatsStream
from tests.contract.nats_streams import GROUP, NAME, SENT, Open, changed, names, opened, sent
from tests.nats_server import NatsServer

__all__ = ["opened"]

LEDGER = f"$KV.{NAME}-groups.{GROUP}.ledger"


def test_a_publication_that_is_sent_again_is_stored_once(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = opened()
    events.publish([changed("a", "first")])
    answered: list[int] = []
    ask_some = nats_api._ask_some

    async def lose_the_answers(client: Client, requests: Any, replies: Any, start: int) -> None:
        await ask_some(client, requests, lost := [*replies], start)
        answered.append(sum(reply is not None for reply in lost))
        if len(answered) == 1:
            raise ConnectionClosedError
        replies[:] = lost

    monkeypatch.setattr(nats_api, "_ask_some", lose_the_answers)
    positions = events.publish([changed("a", "red"), changed("b", "blue")])
    monkeypatch.undo()

    assert answered == [2, 2], "both were stored, and sent again"
    assert positions == sorted(set(positions))
    received = events.receive("c", 10, 0)
    assert names(received) == ["first", "red", "blue"]
    assert [delivery.position for delivery in received[1:]] == positions


def test_the_same_change_made_twice_is_two_events(opened: Open) -> None:
    events = opened()
    there_and_back = [changed("a", "red"), changed("a", "blue")]
    events.publish(there_and_back * 2)
    events.publish(there_and_back)
    assert names(events.receive("c", 10, 0)) == ["red", "blue"] * 3


def test_all_events_of_a_product_are_on_one_subject(opened: Open, nats_server: NatsServer) -> None:
    events = opened()
    ids = [f"p{number}" for number in range(200)]
    positions = events.publish([changed(product_id, "x") for product_id in ids * 2])

    async def subjects(client: Client) -> list[str | None]:
        jetstream = client.jetstream()
        return [(await jetstream.get_msg(NAME, p.major)).subject for p in positions]

    found = nats_server.ask(subjects)
    assert found[:200] == found[200:]
    assert len(set(found)) == 16


@pytest.mark.parametrize("data", [{"name": "Lamp"}, '{"name": "Lamp"}'])
def test_what_another_program_publishes_counts(
    opened: Open, nats_server: NatsServer, data: object
) -> None:
    events = opened()
    sent(nats_server, json.dumps(SENT | {"data": data}).encode())
    (delivery,) = events.receive("c", 10, 0)
    assert isinstance(delivery.event, ProductEvent)
    assert (delivery.event.product_id, delivery.event.fields) == ("p-1", {"name": "Lamp"})


def test_what_we_publish_is_plain_json(opened: Open, nats_server: NatsServer) -> None:
    (position,) = opened().publish([changed("p 1", "Lamp")])
    found = nats_server.ask(lambda client: client.jetstream().get_msg(NAME, position.major))
    assert json.loads(found.data or b"") == {
        "event_type": "update",
        "product_id": "p 1",
        "timestamp": "now",
        "data": {"name": "Lamp"},
    }


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"no json", "unknown-type"),
        (b"[1, 2]", "unknown-type"),
        (b"[" * 100_000, "unknown-type"),
        (b"\xff\xfe", "not-utf-8"),
        (b'{"event_type": "create", "product_id": "a\xff"}', "not-utf-8"),
        (b'{"event_type": "create", "product_id": "a", "data": {"n": "\xff"}}', "not-utf-8"),
        (b'{"event_type": 7, "product_id": null}', "unknown-type"),
        (b'{"event_type": "create", "product_id": "a", "data": [1]}', "undecodable"),
    ],
)
def test_what_should_be_an_event_and_is_none_is_delivered_as_such(
    opened: Open, nats_server: NatsServer, body: bytes, cause: str
) -> None:
    events = opened()
    sent(nats_server, body)
    (delivery,) = events.receive("c", 10, 0)
    assert isinstance(delivery.event, UndecodableEvent)
    assert delivery.event.cause == cause


def test_entries_that_are_no_events_are_left_out(opened: Open, nats_server: NatsServer) -> None:
    events = opened()
    sent(nats_server, b'{"init": true}')
    sent(nats_server, json.dumps(SENT).encode())
    sent(nats_server, b"{}")
    assert len(events.receive("c", 10, 0)) == 1
    assert events.status().pending == 1


def test_an_event_larger_than_the_server_takes_is_refused_before_any_is_sent(opened: Open) -> None:
    events = opened()
    with pytest.raises(EventsTooLarge, match="larger than NATS takes here") as refused:
        events.publish([changed("a", "Lamp"), changed("b", "x" * 1_100_000)])
    assert list(refused.value.places) == [1]
    assert "max_payload" in refused.value.hint
    assert events.status().length == 0


def test_an_event_larger_than_the_stream_takes_is_refused_before_any_is_sent(
    opened: Open, nats_server: NatsServer
) -> None:
    """As an operator may have made it; the message id counts, however long the product's id is."""

    async def limit(client: Client) -> None:
        jetstream = client.jetstream()
        config = (await jetstream.stream_info(NAME)).config
        await jetstream.update_stream(config, max_msg_size=2_000)

    events = opened()
    nats_server.ask(limit)
    with pytest.raises(EventsTooLarge, match=r"larger than NATS takes here \(1,744") as refused:
        events.publish([changed("a", "Lamp"), changed("b", "x" * 1_700)])
    assert list(refused.value.places) == [1]
    assert "max_msg_size" in refused.value.hint
    assert events.status().length == 0
    room = 1_744 - len(encode(changed("é" * 120, "").as_text()))
    assert events.publish([changed("é" * 120, "x" * room)])


def fetched_by_one_that_dies(server: NatsServer, count: int) -> None:
    """Fetch, and note it nowhere: what a process leaves that is killed just then."""

    async def fetch(client: Client) -> None:
        subscription = await client.jetstream().pull_subscribe_bind(GROUP, NAME)
        assert len(await subscription.fetch(count)) == count

    server.ask(fetch)


def test_what_was_fetched_by_one_that_was_killed_at_once_comes_again(
    opened: Open, nats_server: NatsServer
) -> None:
    opened(claim_idle_ms=1000).publish([changed("a", n) for n in ("one", "two", "three")])
    fetched_by_one_that_dies(nats_server, 2)
    events = opened(claim_idle_ms=1000)
    assert names(events.receive("c", 10, 0)) == ["three"]
    assert events.status().pending == 3

    again = [delivery for _ in range(2) for delivery in events.receive("c", 10, 20_000)]

    assert [(names([d]), d.attempt) for d in again] == [(["one"], 2), (["two"], 2)]


def test_without_its_ledger_the_count_is_the_server_s(
    opened: Open, nats_server: NatsServer
) -> None:
    events = opened(claim_idle_ms=1000)
    events.publish([changed("a", "one"), changed("a", "two")])
    first, _ = events.receive("c", 2, 0)
    events.acknowledge([first])
    nats_server.ask(lambda client: client.jetstream().purge_stream(f"KV_{NAME}-groups"))

    (again,) = opened(claim_idle_ms=1000).receive("other", 10, 20_000)

    assert (names([again]), again.attempt) == (["two"], 2)


def test_what_the_server_forgot_was_acknowledged_is_not_delivered_again(
    opened: Open, nats_server: NatsServer
) -> None:
    """As after a kill of the server, which writes down acknowledgements a moment later."""
    events = opened(claim_idle_ms=1000)
    other = opened("other")
    events.publish([changed("a", "one"), changed("a", "two")])
    events.acknowledge(events.receive("c", 2, 0))

    async def forget(client: Client) -> None:
        jetstream = client.jetstream()
        before = (await jetstream.consumer_info(NAME, GROUP)).created
        await jetstream.delete_consumer(NAME, GROUP)
        events.create_group()
        made = (await jetstream.consumer_info(NAME, GROUP)).created
        assert before != made
        ledger = json.loads((await jetstream.get_last_msg(f"KV_{NAME}-groups", LEDGER)).data or b"")
        facts = json.loads((await client.request(f"$JS.API.CONSUMER.INFO.{NAME}.{GROUP}")).data)
        ledger["made"] = facts["created"]
        await jetstream.publish(LEDGER, json.dumps(ledger).encode())

    nats_server.ask(forget)

    again = opened(claim_idle_ms=1000)
    assert again.status().lag == 2
    assert again.receive("c", 10, 0) == []
    assert (again.status().lag, again.status().pending) == (0, 0)
    assert names(other.receive("c", 10, 0)) == ["one", "two"]


def test_a_ledger_of_an_earlier_group_says_nothing(opened: Open, nats_server: NatsServer) -> None:
    events = opened()
    opened("other")
    events.publish([changed("a", "one"), changed("a", "two")])
    events.acknowledge(events.receive("c", 1, 0))
    nats_server.ask(lambda client: client.jetstream().delete_consumer(NAME, GROUP))
    with pytest.raises(GroupMissing, match=GROUP):
        events.receive("c", 1, 100)
    assert events.create_group()
    assert names(events.receive("c", 10, 0)) == ["one", "two"]


def test_a_stream_that_was_deleted_goes_on_at_higher_positions(
    opened: Open, nats_server: NatsServer
) -> None:
    events = opened()
    (before, *_) = events.publish([changed("a", "one"), changed("a", "two")])
    events.receive("c", 1, 0)
    nats_server.ask(lambda client: client.jetstream().delete_stream(NAME))
    with pytest.raises(GroupMissing):
        events.receive("c", 1, 100)
    assert events.status().length == 0
    assert events.pending(10) == []
    assert list(events.backlog()) == []

    (after,) = events.publish([changed("a", "three")])

    assert after > before
    assert names(events.receive("c", 10, 0)) == ["three"]


def test_what_somebody_took_off_the_stream_is_lost_and_said_to_be(
    opened: Open, nats_server: NatsServer
) -> None:
    opened().publish([changed("a", "one"), changed("a", "two")])
    opened().receive("c", 1, 0)
    nats_server.ask(lambda client: client.jetstream().purge_stream(NAME))
    events = opened()
    (lost,) = events.receive("c", 10, 0)
    assert isinstance(lost.event, LostEvent)
    events.acknowledge([lost])
    assert events.pending(10) == []
    assert events.receive("c", 10, 0) == []


def test_a_consumer_of_another_program_keeps_what_it_has_not_acknowledged(
    opened: Open, nats_server: NatsServer
) -> None:
    events = opened()

    async def subscribe(client: Client) -> None:
        await client.jetstream().pull_subscribe("product.updates.*", durable="report", stream=NAME)

    nats_server.ask(subscribe)
    events.publish([changed("a", "one")])
    events.acknowledge(events.receive("c", 1, 0))
    assert events.status().length == 1
    (other,) = [group for group in events.status().groups if group.name != GROUP]
    assert (other.name, other.lag, other.idle_ms) == ("report", 1, None)


@pytest.mark.parametrize("key", ["a b", "ünï:côde", "x" * 256, "dots.and*stars>", "::", "a/b\\c"])
def test_stream_and_group_may_have_any_name(
    nats_server: NatsServer, closing: Callable[[object], None], key: str
) -> None:
    events = NatsStream(
        NatsConnection(nats_server.url), stream=key, group=key, claim_idle_ms=60_000
    )
    closing(events)
    events.publish([changed("a", "one")])
    events.acknowledge(events.receive(key, 10, 0))
    status = events.status()
    assert (status.stream, status.lag, status.length) == (key, 0, 0)
    assert [group.name for group in status.groups] == [key]
    assert [consumer.name for consumer in status.consumers] == [key]
    assert events.drop_group(key)


def test_what_is_taken_over_and_not_handed_out_counts_once(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster may have a leader for the ledgers while it has none for the stream."""
    opened().publish([changed("p-1", "Lamp")])
    assert len(opened().receive("a", 10, 0)) == 1
    again = opened()

    async def away(*_: object) -> None:
        raise ConnectionClosedError

    with monkeypatch.context() as without:
        without.setattr(again, "_with_history", away)
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                again.receive("a", 10, 0)
    assert [delivery.attempt for delivery in again.receive("a", 10, 0)] == [2]
    assert again.receive("a", 10, 0) == []


def test_what_is_taken_over_though_the_answer_is_lost_counts_once(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened().publish([changed("p-1", "Lamp")])
    assert len(opened().receive("a", 10, 0)) == 1
    again = opened()
    put = nats_api.put

    async def lose_the_answer(client: Client, subject: str, body: bytes, *expected: int) -> int:
        stored = await put(client, subject, body, *expected)
        if b'"a",' in body and b",2,[[" in body:
            raise ConnectionClosedError
        return stored

    with monkeypatch.context() as lossy:
        lossy.setattr(nats_api, "put", lose_the_answer)
        with pytest.raises(BackendUnavailable):
            again.receive("a", 10, 0)
    assert [delivery.attempt for delivery in again.receive("a", 10, 0)] == [2]


def test_a_group_that_holds_all_it_may_is_told_that_there_is_no_more(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_group, "MOST_HELD", 5)
    events = opened()
    events.publish([changed("a", str(number)) for number in range(8)])
    before_s = time.monotonic()
    held = events.receive("c", 10, 0)
    assert len(held) == 5
    assert events.receive("d", 1, 0) == []
    events.acknowledge(held)
    assert names(events.receive("d", 10, 0)) == ["5", "6", "7"]
    assert time.monotonic() - before_s < 5
