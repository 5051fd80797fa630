"""A bad event never blocks a good one, and is given up in the end with its whole story."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recsys_cli.domain import EventType, Product, ProductEvent
from recsys_cli.pipeline.consume import ConsumeOptions, Consumer
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys
from tests.faults import FaultyModels
from tests.servers import wait_until
from tests.shops import EVENT_SHOPS

pytestmark = pytest.mark.parametrize("recsys", EVENT_SHOPS, indirect=True)


def publish(recsys: Recsys, folder: Path, names: Sequence[str]) -> None:
    feed = folder / "feed.jsonl"
    rows = [json.dumps({"id": f"p{n}", "name": name}) for n, name in enumerate(names)]
    feed.write_text("\n".join(rows))
    recsys("import", feed)


def status(recsys: Recsys) -> Any:
    return recsys("lag", "--json").json


def faulty_consumer(fault: str, name: str) -> int:
    """Run a consumer that meets the fault at the product of this name; return its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults", fault, name], check=False
    ).returncode


def test_one_poison_event_among_ten_thousand_costs_the_others_nothing(
    recsys: Recsys, tmp_path: Path
) -> None:
    names = [f"Lamp {n}" for n in range(10_000)]
    names[5_000] = "Poison"
    publish(recsys, tmp_path, names)
    # Soon made: while the others are indexed, the next try must not come due.
    recsys("index", "create", "--m", 2, "--ef-construction", 8)

    assert faulty_consumer("fail", "Poison") == 0

    assert recsys("index", "info", "--json").json["documents"] == 9_999
    (pending,) = recsys("pending", "--json").json_lines
    assert pending["product_id"] == "p5000", "it waits for its next try"
    assert recsys("dlq", "list", "--json").json_lines == []


def test_a_failing_event_is_given_up_with_its_error_and_replayed_when_the_bug_is_mended(
    recsys: Recsys, tmp_path: Path
) -> None:
    publish(recsys, tmp_path, ["Lamp", "Poison", "Kettle"])
    for _ in range(5):
        assert faulty_consumer("fail", "Poison") == 0
    assert status(recsys)["pending"] == 0

    (letter,) = recsys("dlq", "list", "--json").json_lines
    assert letter["cause"] == "failing"
    assert letter["error"] == "MemoryError: no room for Poison"
    assert (letter["attempts"], letter["replays"]) == (5, 0)
    assert letter["first_failed_at"] < letter["last_failed_at"]
    assert json.loads(letter["raw"]["data"])["name"] == "Poison"
    assert "given up (recsys dlq list)" in recsys("similar", "p1", exits=4).err

    recsys("product", "update", "p1", "--name", "Poison no more")
    recsys("dlq", "replay", "--all")
    recsys("consume", "--drain")

    assert recsys("dlq", "list", "--json").json_lines == []
    assert recsys("product", "show", "p1", "--json").json["name"] == "Poison no more"
    assert recsys("index", "info", "--json").json["documents"] == 3


def test_an_event_that_kills_its_consumer_is_given_up_and_spares_its_batch(
    recsys: Recsys, tmp_path: Path
) -> None:
    publish(recsys, tmp_path, [f"Lamp {n}" for n in range(20)] + ["Killer"] + ["Desk", "Chair"])

    ends = [faulty_consumer("kill", "Killer") for _ in range(6)]

    assert ends == [-9] * 5 + [0]
    (letter,) = recsys("dlq", "list", "--json").json_lines
    assert (letter["raw"]["product_id"], letter["cause"]) == ("p20", "abandoned")
    assert (letter["attempts"], letter["error"]) == (
        5,
        "its consumer ended, or hung, without a word",
    )
    assert letter["first_failed_at"] < letter["last_failed_at"]
    assert recsys("index", "info", "--json").json["documents"] == 22
    assert status(recsys)["pending"] == 0


def test_a_product_that_grew_too_large_keeps_no_consumer_from_starting(
    recsys: Recsys, tmp_path: Path
) -> None:
    publish(recsys, tmp_path, ["Lamp"])
    with Backends(load()) as opened:
        # Past the importer, as another program would: each is fine, all together are too large.
        events = [
            ProductEvent(type=EventType.UPDATE, product_id="big", fields={f"f{n}": "x" * 900_000})
            for n in range(5)
        ]
        opened.get_event_processor().publish(events)

    recsys("consume", "--drain", exits=3)

    assert recsys("index", "info", "--json").json["documents"] == 1
    assert [p["product_id"] for p in recsys("pending", "--json").json_lines] == ["big"]


def test_dead_again_after_a_replay_is_said(recsys: Recsys, tmp_path: Path) -> None:
    publish(recsys, tmp_path, ["Poison"])
    for replays in range(3):
        for _ in range(5):
            faulty_consumer("fail", "Poison")
        (letter,) = recsys("dlq", "list", "--json").json_lines
        assert letter["replays"] == replays
        recsys("dlq", "replay", letter["id"])
    recsys("consume", "--drain")
    assert recsys("dlq", "summary", "--json").out == ""


@pytest.fixture
def backends(recsys: Recsys) -> Backends:
    assert recsys is not None, "it has chosen the backend"
    return Backends(load(), claim_idle_ms=600)


def consumer(
    opened: Backends,
    name: str,
    before_embedding: Any = lambda _: None,
    claim_idle_ms: int = 600,
    **options: Any,
) -> Consumer:
    return Consumer(
        opened.get_event_processor(),
        opened.get_catalog(),
        opened.get_generations(),
        FaultyModels(opened.get_model_factory(), before_embedding),
        ConsumeOptions(consumer=name, claim_idle_ms=claim_idle_ms, block_ms=100, **options),
    )


def test_a_batch_that_takes_longer_than_the_claim_time_stays_with_its_consumer(
    recsys: Recsys, tmp_path: Path, backends: Backends
) -> None:
    publish(recsys, tmp_path, ["Lamp", "Desk"])
    stop, embedding, may_go_on = threading.Event(), threading.Event(), threading.Event()

    def embed_slowly(_: Sequence[Product]) -> None:
        embedding.set()
        assert may_go_on.wait(20)

    slow = consumer(backends, "slow", embed_slowly, max_events=2)
    idle = consumer(backends, "idle")
    threads = [threading.Thread(target=each.run, args=[stop]) for each in (slow, idle)]
    threads[0].start()
    assert embedding.wait(10)
    threads[1].start()
    events = backends.get_event_processor()
    renewed = 0
    last = 0

    def was_renewed_often() -> bool:
        nonlocal renewed, last
        idle_ms = max(p.idle_ms for p in events.pending(5))
        renewed += idle_ms < last
        last = idle_ms
        return renewed > 6

    wait_until(was_renewed_often, 20, "the claim is renewed, over more than two claim times")
    assert {(p.consumer, p.deliveries) for p in events.pending(5)} == {("slow", 1)}
    may_go_on.set()
    threads[0].join(20)
    stop.set()
    threads[1].join(20)
    assert (slow.report.processed, idle.report.processed) == (2, 0)
    backends.close()


def test_a_consumer_that_hangs_loses_its_batch_in_the_end(recsys: Recsys, tmp_path: Path) -> None:
    publish(recsys, tmp_path, ["Lamp", "Desk"])
    stop, hangs, may_go_on = threading.Event(), threading.Event(), threading.Event()

    def hang(_: Sequence[Product]) -> None:
        hangs.set()
        assert may_go_on.wait(30)

    with Backends(load(), claim_idle_ms=50) as opened:
        hung = consumer(opened, "hung", hang, claim_idle_ms=50)
        alive = consumer(opened, "alive", claim_idle_ms=50)
        threads = [threading.Thread(target=each.run, args=[stop]) for each in (hung, alive)]
        threads[0].start()
        assert hangs.wait(10)
        threads[1].start()
        wait_until(lambda: alive.report.processed == 2, 20, "the other one takes over")
        stop.set()
        may_go_on.set()
        for thread in threads:
            thread.join(20)
        assert opened.get_event_processor().status().pending == 0
        assert len(opened.get_vector_store().get(["p0", "p1"])) == 2


def test_the_names_of_dead_consumers_go_when_they_hold_nothing(
    recsys: Recsys, tmp_path: Path, backends: Backends
) -> None:
    publish(recsys, tmp_path, ["Lamp"])
    events = backends.get_event_processor()
    events.receive("dead and holding", 1, 0)
    events.receive("dead and idle", 1, 0)
    stop = threading.Event()
    alive = consumer(backends, "alive", status_interval_s=0.1)
    thread = threading.Thread(target=alive.run, args=[stop])
    thread.start()

    def names() -> list[str]:
        return [each.name for each in events.status().consumers]

    # What the one held is taken over first, and then it holds nothing either.
    wait_until(lambda: names() == ["alive"], 20, "only the living are left")
    assert alive.report.processed == 1
    stop.set()
    thread.join(10)
    assert names() == [], "who leaves takes the name along"
    backends.close()
