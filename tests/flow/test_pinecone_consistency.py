"""Pinecone shows late what was written: an older embedding never stays over a newer one for that.

``vectors/pinecone.py`` says why; here two consumers meet at every request of the slower one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_cli.domain import EventType, Fields, Position, ProductEvent
from recsys_cli.generations import Generation
from recsys_cli.merge import states_of
from recsys_cli.pipeline.embed import Target, embed_states
from recsys_cli.pipeline.model import SharedModels
from recsys_cli.ports import EmbeddingModel
from recsys_cli.settings import load
from recsys_cli.vectors import pinecone
from recsys_cli.wiring import Backends
from tests.commands import Recsys, recsys_process
from tests.pinecone_server import PineconeServer
from tests.servers import wait_until

NAMES = ("Desk lamp of brass", "Floor lamp of steel", "Kettle of steel", "Trail shoe")
FETCH, UPSERT, DELETE = "/vectors/fetch", "/vectors/upsert", "/vectors/delete"
TURNS = {
    "fresh": (False,),
    "stale": (True,),
    "stale by turns": (True, False),
}

pytestmark = pytest.mark.parametrize("recsys", ["embedded+pinecone"], indirect=True)


class Consumer:
    """A consumer of its own connections, one event at a time."""

    def __init__(self) -> None:
        self.backends = Backends(load())
        self.catalog = self.backends.get_catalog()
        self._events = self.backends.get_event_processor()
        models = SharedModels(self._events, self.catalog, self.backends.get_model_factory())
        self.model: EmbeddingModel = models.current()
        self._targets = [Target(Generation(), self.backends.get_vector_store(), self.model)]

    def change(self, product_id: str, fields: Fields | None) -> None:
        """Publish an update, or a delete, and bring it to the index."""
        kind = EventType.DELETE if fields is None else EventType.UPDATE
        event = ProductEvent(type=kind, product_id=product_id, fields=fields or {})
        (position,) = self._events.publish([event])
        states = self.catalog.merge(states_of([(position, event)]))
        embed_states(states, self.catalog, self._targets, lambda: self._targets)


@pytest.fixture
def stocked(recsys: Recsys, tmp_path: Path) -> Recsys:
    feed = tmp_path / "feed.csv"
    feed.write_text(
        "id,name,price\n" + "".join(f"p{n},{name},10\n" for n, name in enumerate(NAMES))
    )
    return recsys.stock(feed)


@pytest.fixture
def two(stocked: Recsys) -> Iterator[tuple[Consumer, Consumer]]:  # noqa: ARG001 - they share its shop
    slow, fast = Consumer(), Consumer()
    with slow.backends, fast.backends:
        yield slow, fast


@pytest.fixture
def fast(two: tuple[Consumer, Consumer]) -> Consumer:
    return two[1]


def held(server: PineconeServer) -> dict[str, Any]:
    (vectors,) = server.data.namespaces.values()
    return vectors


def assert_newest(server: PineconeServer, consumer: Consumer, product_id: str) -> None:
    """What is really there is what the catalog says, vector and all."""
    state = consumer.catalog.get([product_id])[product_id]
    product = state.product(product_id)
    if product is None:
        assert product_id not in held(server)
        return
    found = held(server)[product_id]
    assert found["metadata"]["name"] == product.name
    assert found["metadata"]["price"] == product.price
    assert Position.parse(found["metadata"]["position"]) == state.position
    assert found["metadata"]["text_digest"] == consumer.model.text_digest(product)
    (row,) = consumer.model.embed([product])
    np.testing.assert_allclose(found["values"], row, atol=1e-6)


CHANGES: dict[str, Fields | None] = {
    "text": {"name": "Reading lamp of brass"},
    "price": {"price": 99.0},
    "delete": None,
}


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("newer", CHANGES)
@pytest.mark.parametrize("older", CHANGES)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_older_embedding_never_stays_over_a_newer_one(
    moment: str,
    older: str,
    newer: str,
    turns: str,
    two: tuple[Consumer, Consumer],
    pinecone_server: PineconeServer,
) -> None:
    slow, fast = two
    paths = {FETCH, DELETE if CHANGES[older] is None else UPSERT}

    def overtake(path: str) -> None:
        if path in paths:
            paths.remove(path)
            pinecone_server.data.show_stale(islice(cycle(TURNS[turns]), 20))
            fast.change("p0", CHANGES[newer] if path != FETCH else {"name": "Lamp in between"})

    setattr(pinecone_server, moment, overtake)
    slow.change("p0", CHANGES[older])
    assert not paths, "it was overtaken at each request"
    pinecone_server.before = pinecone_server.after = lambda _: None
    assert_newest(pinecone_server, fast, "p0")


@pytest.mark.parametrize("turns", TURNS)
def test_the_vector_of_earlier_never_gets_the_metadata_of_now(
    turns: str, fast: Consumer, pinecone_server: PineconeServer
) -> None:
    before: Fields = {"name": NAMES[0]}
    changes: list[Fields] = [{"name": "Kettle"}, {"price": 7.0}, before, {"price": 8.0}]
    for fields in changes:
        pinecone_server.data.show_stale(islice(cycle(TURNS[turns]), 4))
        fast.change("p0", fields)
        assert_newest(pinecone_server, fast, "p0")


def test_what_cannot_be_seen_yet_is_removed_all_the_same(
    fast: Consumer, pinecone_server: PineconeServer
) -> None:
    pinecone_server.data.show_stale([True] * 10)
    fast.change("new", {"name": "Lamp"})
    fast.change("new", None)
    assert "new" not in held(pinecone_server)


@pytest.mark.parametrize(("path", "nth"), [(FETCH, 2), (UPSERT, 1), (UPSERT, 2)])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_consumer_that_is_killed_between_writes_leaves_nothing_undone(
    moment: str,
    path: str,
    nth: int,
    stocked: Recsys,
    fast: Consumer,
    pinecone_server: PineconeServer,
) -> None:
    for number in range(len(NAMES)):
        stocked("product", "update", f"p{number}", "--name", f"Lamp number {number}")
    arguments = ("consume", "--drain", "--batch-size", 2, "--consumer-id", "c")
    victim: list[int] = []
    times = count(1)

    def kill(asked: str) -> None:
        # The first fetch looks at the index.
        if asked == path and victim and next(times) == nth:
            os.kill(victim.pop(), signal.SIGKILL)

    setattr(pinecone_server, moment, kill)
    process = recsys_process(*arguments)
    victim.append(process.pid)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert stocked("lag", "--json").json["pending"] > 0

    pinecone_server.data.show_stale([True, False] * 20)
    stocked(*arguments)
    for number in range(len(NAMES)):
        assert_newest(pinecone_server, fast, f"p{number}")


def test_a_write_that_takes_effect_too_late_is_found_and_mended(
    stocked: Recsys, fast: Consumer, pinecone_server: PineconeServer
) -> None:
    of_earlier = dict(held(pinecone_server)["p0"])
    fast.change("p0", {"name": "Reading lamp"})
    fast.change("p1", None)
    held(pinecone_server)["p0"] = of_earlier
    held(pinecone_server)["p1"] = {**of_earlier, "id": "p1"}

    found = stocked("doctor", "--fix", exits=None)
    assert "outdated" in found.out
    stocked("consume", "--drain")

    assert_newest(pinecone_server, fast, "p0")
    stocked("doctor")


def at_the_first(path: str, act: Callable[[], None]) -> Callable[[str], None]:
    """Return what acts when the stand-in is first asked for this."""
    acts = [act]

    def look(asked: str) -> None:
        if asked == path and acts:
            acts.pop()()

    return look


@pytest.mark.parametrize("commands", [["reembed", "index rollback"], ["doctor --fix"]])
def test_a_product_that_comes_back_while_its_orphan_is_removed_stays(
    commands: list[str], stocked: Recsys, fast: Consumer, pinecone_server: PineconeServer
) -> None:
    *before, removing = (command.split() for command in commands)
    orphan = held(pinecone_server)["p1"]
    for command in before:
        stocked(*command)
    fast.change("p1", None)
    pinecone_server.data.namespaces["product:vectors"]["p1"] = orphan

    def come_back() -> None:
        for command in (["product", "put", "p1", "--name", "Floor lamp"], ["consume", "--drain"]):
            recsys_process(*command).communicate(timeout=60)
        assert "p1" in pinecone_server.data.namespaces["product:vectors"]

    pinecone_server.before = at_the_first(DELETE, come_back)
    stocked(*removing)
    pinecone_server.before = lambda _: None
    stocked("consume", "--drain")
    stocked("doctor")
    assert stocked("similar", "p1", "--json").json["neighbors"]


def test_a_restore_does_not_put_its_vectors_over_newer_ones(
    stocked: Recsys, fast: Consumer, pinecone_server: PineconeServer, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.jsonl"
    stocked("export", backup)
    fast.change("p0", {"name": "Reading lamp of brass"})
    fast.change("p1", {"name": "Floor lamp of wood"})

    def overtake() -> None:
        fast.change("p0", {"name": "Bedside lamp of brass"})
        fast.change("p1", None)

    pinecone_server.before = at_the_first(UPSERT, overtake)
    stocked("restore", backup, "--replace")
    assert_newest(pinecone_server, fast, "p0")
    assert_newest(pinecone_server, fast, "p1")


def test_what_a_lost_catalog_has_left_is_found_and_mended(
    stocked: Recsys, pinecone_server: PineconeServer, fast: Consumer, tmp_path: Path
) -> None:
    """Positions of the new catalog begin anew, so those of the old one are newer."""
    for number in range(3):
        fast.change("p0", {"name": f"Lamp number {number}"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(tmp_path / "anew"))
        feed = tmp_path / "anew.csv"
        feed.write_text("id,name,price\np0,Lamp of another time,10\np9,Kettle of iron,10\n")
        stocked.stock(feed)
        found = stocked("doctor", "--fix", "--json", exits=None).json["findings"]
        assert {f["product_id"]: f["ailment"] for f in found}["p0"] in {"outdated", "stale model"}
        stocked("consume", "--drain")
        stocked("doctor")
    assert held(pinecone_server).keys() == {"p0", "p9"}
    assert held(pinecone_server)["p0"]["metadata"]["name"] == "Lamp of another time"


def test_a_read_may_show_what_was_there_before(
    fast: Consumer, pinecone_server: PineconeServer
) -> None:
    store = fast.backends.get_vector_store()
    assert store.is_eventually_consistent
    assert not store.can_tell_unindexed
    before = store.stored(["p0"])["p0"]
    pinecone_server.data.stale_reads = 4
    fast.change("p0", {"name": "Reading lamp"})
    fast.change("new", {"name": "Lamp"})
    assert store.stored(["p0", "new"])["p0"] != before
    assert store.get(["new"]) == {}
    assert store.unindexed(["p0", "new"]) == [], "though no search finds the new one yet"
    wait_until(lambda: store.get(["new"]), 10, "it is shown in the end")


def test_waiting_until_visible_is_what_makes_it_visible(
    stocked: Recsys, pinecone_server: PineconeServer
) -> None:
    pinecone_server.data.stale_reads = 6
    stocked("product", "put", "late", "--name", "Lamp of late")
    stocked("consume", "--drain")
    assert "the index does not show it yet" in stocked("similar", "late", exits=4).err
    wait_until(
        lambda: stocked("similar", "late", exits=None).exit_code == 0, 30, "it is shown in the end"
    )

    stocked("product", "put", "soon", "--name", "Lamp of soon")
    stocked("consume", "--drain", "--wait-visible")
    stocked("similar", "soon")


@pytest.mark.parametrize("newer", CHANGES)
@pytest.mark.parametrize("older", ["text", "price"])
def test_waiting_ends_where_another_has_gone_on(
    older: str,
    newer: str,
    fast: Consumer,
    pinecone_server: PineconeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PINECONE_WAIT_VISIBLE", "true")
    monkeypatch.setattr(pinecone, "_SHOWN_WITHIN_S", 2.0)
    overtaken: list[str] = []

    def overtake(path: str) -> None:
        if path == UPSERT and not overtaken:
            overtaken.append(path)
            fast.change("p0", CHANGES[newer])

    slow = Consumer()
    with slow.backends:
        pinecone_server.after = overtake
        slow.change("p0", CHANGES[older])
    assert overtaken
    assert_newest(pinecone_server, fast, "p0")


def test_another_generation_is_filled_and_serves_over_stale_reads(
    stocked: Recsys, pinecone_server: PineconeServer
) -> None:
    pinecone_server.data.stale_reads = 2
    stocked("reembed")
    stocked("similar", "p0")
    stocked("product", "update", "p0", "--name", "Reading lamp")
    stocked("consume", "--drain", "--wait-visible")
    stocked("index", "rollback")
    assert stocked("product", "show", "p0", "--json").json["name"] == "Reading lamp"
    neighbors = stocked("similar", "p1", "--json").json["neighbors"]
    assert "Reading lamp" in [neighbor["name"] for neighbor in neighbors]


def test_what_is_newer_than_the_catalog_is_made_anew_though_reads_are_late(
    stocked: Recsys,
    fast: Consumer,
    pinecone_server: PineconeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pinecone, "_LONGEST_LOOK_S", 0.01)
    # Somebody's catalog is lost, in which this product had changed many times.
    held(pinecone_server)["p0"]["metadata"]["position"] = "1000000-0"

    def late(path: str) -> None:
        if path == DELETE:
            pinecone_server.data.show_stale([True] * 20)

    pinecone_server.before = late
    stocked("doctor", "--fix")
    stocked("consume", "--drain")
    assert_newest(pinecone_server, fast, "p0")
