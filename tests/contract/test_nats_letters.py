"""What the dead letters on NATS promise beyond the port, whoever is killed in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import msgspec
import pytest
from nats.aio.client import Client

from recsys_cli.connections.nats import NatsConnection
from recsys_cli.deliveries import DeadLetter, Delivery, Failure
from recsys_cli.domain import Position
from recsys_cli.events import nats_letters
from recsys_cli.events.nats_letters import NatsDeadLetters, keep
from recsys_cli.events.nats_names import Names
from recsys_cli.events.nats_stream import NatsStream
from tests.contract.nats_streams import (
    GROUP,
    NAME,
    SENT,
    Open,
    changed,
    failed_once,
    failures,
    names,
    opened,
    sent,
)
from tests.contract.test_event_processor import letter
from tests.nats_server import NatsServer

__all__ = ["opened"]


@pytest.fixture
def dead(nats_server: NatsServer, closing: Callable[[object], None]) -> NatsDeadLetters:
    letters = NatsDeadLetters(NatsConnection(nats_server.url), stream="product:updates")
    closing(letters)
    return letters


def test_a_letter_that_was_kept_before_the_kill_is_not_kept_twice(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    opened().publish([changed("a", "one")])
    (held,) = opened().receive("c", 1, 0)
    # All that a process had done that was killed while it buried the event.
    names_ = Names("product:updates")
    nats_server.ask(lambda client: keep(client, names_, GROUP, [letter(held)]))

    events = opened()
    (again,) = events.receive("c", 1, 0)
    events.bury([letter(again, 1)])

    (kept,) = dead.letters()
    assert kept.error == "error 0"
    assert (events.status().pending, events.status().length) == (0, 0)


def test_a_replay_drops_the_failure_of_what_who_buried_it_left(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    again = failed_once(opened())
    names_ = Names("product:updates")
    nats_server.ask(lambda client: keep(client, names_, GROUP, [letter(again)]))
    assert failures(nats_server) == 1
    (kept,) = dead.letters()
    assert dead.replay(kept)
    assert failures(nats_server) == 0


def test_a_letter_that_names_no_event_can_be_replayed(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    """Another program has written it."""
    events = opened()

    async def write(client: Client) -> None:
        for number, entry_id in enumerate(({}, {"entry_id": "soon"})):
            body = json.dumps({"event": SENT} | entry_id).encode()
            await client.jetstream().publish(f"product.updates.dead.{GROUP}.{number}", body)

    nats_server.ask(write)
    assert [dead.replay(each) for each in dead.letters()] == [True, True]
    assert names(events.receive("c", 10, 0)) == ["Lamp", "Lamp"]
    assert list(dead.letters()) == []


def test_dead_letters_that_were_deleted_are_made_anew_by_the_next(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    events = opened()
    events.publish([changed("a", "one")])
    nats_server.ask(lambda client: client.jetstream().delete_stream(f"{NAME}-dead"))
    held = died(events)
    assert [each.entry_id for each in dead.letters()] == [held.entry_id]
    assert events.status().pending == 0


def died(events: NatsStream, number: int = 0) -> Delivery:
    """Receive one event, and bury it."""
    (held,) = events.receive("c", 1, 0)
    events.bury([letter(held, number)])
    return held


def replay_that_is_killed(server: NatsServer, kept: DeadLetter, **changes: str) -> None:
    """All that a process had done that was killed before it dropped the letter."""

    async def publish_only(client: Client) -> None:
        place = (await client.jetstream().get_msg(f"{NAME}-dead", int(kept.id))).subject or ""
        await client.jetstream().publish(
            "product.updates.1",
            json.dumps(kept.as_replayed | changes).encode(),
            headers={"Nats-Msg-Id": f"replay.{kept.id}.{place.rpartition('.')[2]}"},
        )

    server.ask(publish_only)


def test_a_replay_that_was_killed_before_it_dropped_the_letter_is_finished_by_the_next(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    events = opened()
    events.publish([changed("a", "one")])
    held = died(events)
    (kept,) = dead.letters()
    replay_that_is_killed(nats_server, kept)
    assert dead.replay(kept)
    assert list(dead.letters()) == []
    (again,) = events.receive("c", 10, 0)
    assert (again.replays, again.position) == (1, Position.parse(held.entry_id))


def test_a_replay_that_was_killed_is_finished_by_who_buries_the_event_again(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    events = opened()
    events.publish([changed("a", "one"), changed("b", "other")])
    held, _ = died(events), died(events)
    for replays in (1, 2):
        kept, *_ = (each for each in dead.letters() if each.raw["product_id"] == "a")
        replay_that_is_killed(nats_server, kept)
        again = died(events, replays)

        other, new = dead.letters()

        assert other.raw["product_id"] == "b"
        assert (new.entry_id, new.error) == (again.entry_id, f"error {replays}")
        assert (new.replays, new.as_replayed["original_id"]) == (replays, held.entry_id)
        assert dead.find(kept.id) is None
    assert (events.status().pending, events.status().length) == (0, 0)
    assert [dead.replay(each) for each in dead.letters()] == [True, True]
    assert list(dead.letters()) == []


def test_who_is_killed_after_the_new_letter_leaves_one(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    opened().publish([changed("a", "one")])
    died(opened())
    (kept,) = dead.letters()
    replay_that_is_killed(nats_server, kept)
    (held,) = opened().receive("c", 1, 0)
    names_ = Names("product:updates")
    nats_server.ask(lambda client: keep(client, names_, GROUP, [letter(held, 1)]))

    events = opened()
    died(events, 2)

    assert [(each.entry_id, each.error) for each in dead.letters()] == [(held.entry_id, "error 1")]
    assert events.status().pending == 0


@pytest.mark.parametrize("group", [GROUP, "with a space, " + "and long" * 40])
def test_a_replay_acknowledges_what_who_buried_it_was_killed_before_acknowledging(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters, group: str
) -> None:
    events = opened(group=group)
    events.publish([changed("a", "one")])
    (held,) = events.receive("c", 1, 0)
    names_ = Names("product:updates")
    nats_server.ask(lambda client: keep(client, names_, group, [letter(held, 0)]))
    (kept,) = dead.letters()

    assert dead.replay(kept)

    events = opened(group=group)
    (again,) = events.receive("c", 10, 0)
    assert (again.replays, again.position) == (1, held.position)
    events.bury([letter(again, 1)])
    (new,) = dead.letters()
    assert new.entry_id == again.entry_id
    assert events.receive("c", 10, 0) == []
    assert events.status().pending == 0


def test_a_replayed_event_that_dies_before_its_letter_is_dropped_was_replayed(
    opened: Open, dead: NatsDeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = opened()
    events.publish([changed("a", "one")])
    died(events)
    (kept,) = dead.letters()
    delete = dead._delete

    async def late(client: Client, numbers: Sequence[int]) -> int:
        await asyncio.to_thread(died, events, 1)
        return await delete(client, numbers)

    monkeypatch.setattr(dead, "_delete", late)
    assert dead.replay(kept)
    (new,) = dead.letters()
    assert (new.replays, new.error) == (1, "error 1")
    assert not dead.replay(kept)


def test_a_letter_that_is_purged_while_it_is_replaced_loses_nothing(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = opened()
    events.publish([changed("a", "one")])
    died(events)
    (kept,) = dead.letters()
    replay_that_is_killed(nats_server, kept)
    encoded = nats_letters._encoded

    def purged_meanwhile(new: DeadLetter, most: int) -> bytes:
        dead.purge([kept.id])
        return encoded(new, most)

    monkeypatch.setattr(nats_letters, "_encoded", purged_meanwhile)
    again = died(events, 1)
    assert [each.entry_id for each in dead.letters()] == [again.entry_id]


def test_another_group_leaves_the_letter_to_the_one_whose_it_is(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    events, others = opened(), opened("other")
    events.publish([changed("a", "one")])
    others.acknowledge(others.receive("c", 1, 0))
    died(events)
    (kept,) = dead.letters()
    replay_that_is_killed(nats_server, kept)
    died(others, 1)
    assert [each.error for each in dead.letters()] == ["error 0", "error 1"]
    died(events, 2)
    assert [each.error for each in dead.letters()] == ["error 1", "error 2"]


@pytest.mark.parametrize("forged", ["id", "original"])
def test_what_no_replay_published_replaces_no_letter(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters, forged: str
) -> None:
    events = opened()
    events.publish([changed("a", "one")])
    died(events)
    (kept,) = dead.letters()
    if forged == "id":
        replay_that_is_killed(nats_server, kept, product_id="b")
    else:
        sent(nats_server, json.dumps(kept.as_replayed).encode())
    again = died(events, 1)
    assert [each.entry_id for each in dead.letters()] == [kept.entry_id, again.entry_id]


def test_a_letter_too_large_for_a_message_keeps_its_beginning(
    opened: Open, nats_server: NatsServer, dead: NatsDeadLetters
) -> None:
    events = opened()
    body = SENT | {"data": {"name": "x" * (message_limit(nats_server) - 200)}}
    sent(nats_server, json.dumps(body).encode())
    (held,) = events.receive("c", 1, 0)
    events.bury([letter(held)])
    (kept,) = dead.letters()
    assert (kept.cause, kept.is_whole, kept.error) == ("oversized", False, "test: error 0")
    assert kept.raw["product_id"] == "p-1"


def message_limit(server: NatsServer) -> int:
    async def limit(client: Client) -> int:
        return client.max_payload

    return server.ask(limit)


def test_what_we_publish_fits_into_its_letter_whatever_it_died_of(
    opened: Open, dead: NatsDeadLetters
) -> None:
    events = opened()
    quotes = "\\" * 450_000
    events.publish([changed("a", quotes)])
    (held,) = events.receive("c", 1, 0)
    long = "oh " * 1_000_000
    events.postpone(held, Failure(attempt=1, error=long, first_failed_at="", last_failed_at=""), 0)
    (again,) = events.receive("c", 1, 0)
    assert again.failure is not None
    assert again.failure.error.startswith("oh oh")

    events.bury([msgspec.structs.replace(letter(again), error=long)])

    (kept,) = dead.letters()
    assert (kept.raw, kept.is_whole) == (again.raw, True)
    assert dead.replay(kept)
    assert names(events.receive("c", 1, 0)) == [quotes]
