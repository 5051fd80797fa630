"""A shop whose events and catalog are on NATS: what the other stories do not tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from recsys_cli.pipeline.publish import CHUNK
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys
from tests.nats_server import NatsServer, running_nats
from tests.nights import Night, RunningConsumer
from tests.servers import wait_until

NAME, GROUP = "product-updates", "product-processors"
BUCKET = f"KV_{NAME}-groups"

Work = Callable[[Client], Coroutine[Any, Any, object]]


class NatsNight(Night):
    def __init__(self, recsys: Recsys, folder: Path, server: NatsServer) -> None:
        super().__init__(recsys, folder)
        self.server = server

    def goes_on(self, running: RunningConsumer) -> None:
        self.publish("after")
        wait_until(lambda: self.documents() == 100, 40, "the consumer goes on")
        wait_until(self.is_settled, 20, "and nothing is left over")
        assert " lost " not in running.said
        running.ends_well()


@pytest.fixture
def night(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[NatsNight]:
    """A shop on a server of its own, which may be killed."""
    with running_nats() as server:
        monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "nats")
        monkeypatch.setenv("NATS_URL", server.url)
        night = NatsNight(recsys_embedded, tmp_path, server)
        yield night
        night.end()


def published(server: NatsServer, *events: object) -> None:
    """Publish as another program would: plain messages on a subject of the stream."""

    async def publish(client: Client) -> None:
        for number, event in enumerate(events):
            await client.publish(f"product.updates.{number}", json.dumps(event).encode())
        await client.flush()

    server.ask(publish)


def test_what_another_program_publishes_has_neighbors(night: NatsNight) -> None:
    kettle = {"event_type": "create", "timestamp": "2026-01-01T00:00:00Z"}
    night.publish("before")
    published(
        night.server,
        kettle | {"product_id": "k-1", "data": {"name": "Gooseneck kettle 1 l"}},
        kettle | {"product_id": "k-2", "data": json.dumps({"name": "Gooseneck kettle 2 l"})},
        kettle | {"product_id": "bad", "data": ["no object"]},
        {"init": True},
    )
    wait_until(lambda: night.recsys("lag", "--json").json["lag"] == 54, 20, "all is stored")

    night.recsys("consume", "--drain", exits=3)

    answer = night.recsys("similar", "k-1", "-n", 1, "--json").json
    assert [neighbor["product_id"] for neighbor in answer["neighbors"]] == ["k-2"]
    (letter,) = night.recsys("dlq", "list", "--json").json_lines
    assert (letter["raw"]["product_id"], letter["cause"]) == ("bad", "undecodable")
    assert letter["raw"]["data"] == '["no object"]'
    letter_id = letter["id"]
    assert "no object" in night.recsys("dlq", "show", letter_id).out
    assert night.recsys("dlq", "replay", letter_id).exit_code == 0
    night.recsys("consume", "--drain", exits=3)
    (again,) = night.recsys("dlq", "list", "--json").json_lines
    assert (again["replays"], again["raw"]["original_id"]) == (1, letter["entry_id"])
    night.recsys("dlq", "purge", "--all", "--yes")
    assert night.is_settled()


def test_a_product_too_large_for_the_server_is_rejected_and_the_others_land(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    feed, rejects = tmp_path / "feed.csv", tmp_path / "rejects.jsonl"
    rows = [f"p{n},Lamp {n},{'x' * (60_000 if n == 1 else 5)}\n" for n in range(3)]
    feed.write_text("id,name,description\n" + "".join(rows))
    with running_nats("max_payload: 65536") as server:
        monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "nats")
        monkeypatch.setenv("NATS_URL", server.url)
        imported = recsys_embedded("import", feed, "--rejects", rejects, exits=3)
        assert "line 3: the event is larger than NATS takes here (49,152 bytes)" in imported.err
        assert json.loads(rejects.read_text())["id"] == "p1"
        again = recsys_embedded("import", feed, "--json", exits=3).json
        assert (again["read"], again["unchanged"], again["rejected"]) == (3, 2, 1)
        refused = recsys_embedded(
            "product", "put", "p9", "--name", "Lamp", "--description", "x" * 60_000, exits=5
        )
        assert "max_payload" in refused.err


def test_a_strict_import_stops_soon_after_a_product_too_large_for_the_server(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    feed = tmp_path / "feed.csv"
    rows = [f"p{n},Lamp {n},{'x' * (60_000 if n == 1 else 5)}\n" for n in range(4 * CHUNK)]
    feed.write_text("id,name,description\n" + "".join(rows))
    with running_nats("max_payload: 65536") as server:
        monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "nats")
        monkeypatch.setenv("NATS_URL", server.url)
        imported = recsys_embedded("import", feed, "--strict", "--json", exits=3).json
        assert imported["rejected"] == 1
        assert imported["created"] == 2 * CHUNK - 1


def test_deletes_that_the_server_does_not_take_any_more_end_with_a_sentence(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("id,name\np1,Lamp\np2,Rug\n")
    with running_nats() as server:
        monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "nats")
        monkeypatch.setenv("NATS_URL", server.url)
        recsys_embedded("import", feed)
        server.stop()
        server.config = "max_payload: 8192"
        server.start()
        feed.write_text("id,name\np1,Lamp\n")
        refused = recsys_embedded("import", feed, "--sync", "--max-delete", "1", exits=5)
        assert "larger than NATS takes here (0 bytes)" in refused.err
        assert "max_payload" in refused.err


def test_health_and_doctor_say_what_is_there(night: NatsNight) -> None:
    night.recsys("import", night.feed("before"))
    night.recsys("consume", "--drain")
    health = night.recsys("health").out
    assert "NATS 2." in health
    assert f"127.0.0.1:{night.server.port}" in health
    night.recsys("doctor")
    assert night.recsys("lag").exit_code == 0
    assert night.recsys("pending", "--json").json_lines == []


def test_what_nobody_has_noted_is_told(night: NatsNight) -> None:
    """A consumer was killed after the server had delivered to it, and before it said so."""
    night.recsys("import", night.feed("before"))
    assert "went to a consumer" not in night.recsys("pending").err

    async def fetch(client: Client) -> None:
        subscription = await client.jetstream().pull_subscribe_bind(GROUP, NAME)
        assert len(await subscription.fetch(3)) == 3

    night.server.ask(fetch)
    said = night.recsys("pending").err
    assert "3 events went to a consumer that was killed as it took them" in said


@pytest.mark.parametrize("kill", [True, False])
def test_a_server_that_is_restarted_loses_nothing(kill: bool, night: NatsNight) -> None:
    running = night.fill()
    night.server.stop(kill=kill)
    running.says("trying again in")
    night.recsys("lag", exits=5)
    night.server.start()
    night.goes_on(running)
    assert "gone (" not in running.said


DELETED: dict[str, Work] = {
    "the stream": lambda client: client.jetstream().delete_stream(NAME),
    "the group": lambda client: client.jetstream().delete_consumer(NAME, GROUP),
}


@pytest.mark.parametrize("what", DELETED)
def test_what_is_deleted_under_a_consumer_is_made_again(what: str, night: NatsNight) -> None:
    running = night.fill()
    night.server.ask(DELETED[what])
    running.says("the stream's consumer group was gone")
    night.goes_on(running)


def test_everything_deleted_under_a_consumer_comes_back_with_an_import(night: NatsNight) -> None:
    running = night.fill()
    night.server.clear()
    running.says("the stream's consumer group was gone")
    night.publish("before")
    wait_until(lambda: night.documents() == 50, 20, "everything is back")
    wait_until(night.is_settled, 20, "and nothing is left over")
    assert night.recsys("similar", "before-7").out
    running.ends_well()


def test_ledgers_that_were_deleted_cost_no_event(night: NatsNight) -> None:
    running = night.fill()
    night.server.ask(lambda client: client.jetstream().delete_stream(BUCKET))
    night.goes_on(running)


def test_events_that_somebody_deleted_are_reported_as_lost(night: NatsNight) -> None:
    night.publish("before")
    with Backends(load()) as opened:
        *_, third = opened.get_event_processor().receive("dead", 3, 0)
    first_kept = third.position.major
    night.server.ask(lambda client: client.jetstream().purge_stream(NAME, seq=first_kept))

    said = night.recsys("consume", "--drain", "--claim-idle-ms", 1, exits=3).err

    assert "processed 50" in said
    assert ", lost 2, " in said
    assert night.documents() == 48
    assert night.is_settled()
