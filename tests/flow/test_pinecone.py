"""What is special to Pinecone: its limits, its troubles, its index in the cloud."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from recsys_cli.connections import pinecone as connection
from recsys_cli.connections.pinecone import PineconeIndex, Record
from recsys_cli.errors import BackendRefused, BackendUnavailable
from tests.benchmarks.limits import pinecone
from tests.commands import Recsys
from tests.flow.test_main_job import CATALOGUE
from tests.nights import RunningConsumer
from tests.pinecone_server import API_KEY, PineconeServer
from tests.servers import wait_until

HEADERS = {"api-key": API_KEY, "x-pinecone-api-version": "2026-04"}
on_pinecone = pytest.mark.parametrize("recsys", ["embedded+pinecone"], indirect=True)


@pytest.fixture
def shop(recsys: Recsys, tmp_path: Path) -> Recsys:
    feed = tmp_path / "catalogue.csv"
    feed.write_text(CATALOGUE)
    return recsys.stock(feed)


def nearest(recsys: Recsys) -> str:
    found = recsys("similar", "kettle-1", "-n", 1, "--json").json["neighbors"]
    return str(found[0]["product_id"])


@pytest.mark.parametrize("recsys", ["embedded+pinecone", "redis+pinecone"], indirect=True)
def test_every_look_at_the_shop_works_and_says_no_secret(
    shop: Recsys, pinecone_server: PineconeServer
) -> None:
    health = shop("health")
    assert pinecone_server.host in health.out
    looks = ("lag", "pending", "doctor", "dlq list", "index info", "index check", "config show")
    for said in (health, *(shop(*look.split()) for look in looks)):
        assert API_KEY not in said.out + said.err


@pytest.mark.parametrize("recsys", ["embedded+pinecone", "redis+pinecone"], indirect=True)
def test_another_generation_serves_and_the_earlier_one_again(
    shop: Recsys, pinecone_server: PineconeServer
) -> None:
    shop("reembed")
    assert len(pinecone_server.data.namespaces) == 2
    assert nearest(shop) == "kettle-2"
    shop("index", "rollback")
    assert nearest(shop) == "kettle-2"
    shop("index", "prune", "--yes")
    assert len(pinecone_server.data.namespaces) == 1


@on_pinecone
def test_the_index_is_made_in_the_cloud(
    recsys: Recsys, pinecone_server: PineconeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PINECONE_HOST")
    monkeypatch.setenv("PINECONE_CONTROLLER_HOST", pinecone_server.host)
    assert "PINECONE_HOST is not set" in recsys("similar", "a", exits=2).err
    for _ in range(2):
        said = recsys("index", "create").err
        assert f"the other commands need PINECONE_HOST={pinecone_server.host}" in said
    (made,) = pinecone_server.control.indexes.values()
    assert (made["name"], made["dimension"], made["metric"]) == ("product-vectors", 384, "cosine")
    serverless = made["spec"]["serverless"]
    assert (serverless["cloud"], serverless["region"]) == ("aws", "us-east-1")

    monkeypatch.setenv("VECTOR_DIMENSION", "128")
    assert "of 384 dimensions" in recsys("index", "create", exits=1).err
    monkeypatch.setenv("PINECONE_API_KEY", "secret-but-wrong")
    refused = recsys("index", "create", exits=5).err
    assert "PINECONE_API_KEY" in refused
    assert "secret-but-wrong" not in refused
    monkeypatch.setenv("PINECONE_CONTROLLER_HOST", "http://127.0.0.1:9")
    assert "no answer from Pinecone" in recsys("index", "create", exits=5).err


@on_pinecone
def test_the_index_is_created_looked_at_and_dropped(
    shop: Recsys, pinecone_server: PineconeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = shop("index", "info", "--json").json
    assert (info["algorithm"], info["documents"], info["indexed"]) == ("Pinecone", 6, 6)
    checked = shop("index", "check", "--json").json
    assert (checked["recall"], checked["queries"]) == (1.0, 6)
    monkeypatch.setattr("sys.stdin", (Path(__file__).parents[1] / "__init__.py").open())
    assert "say --yes" in shop("index", "drop", "--embeddings", exits=2).err
    sys.stdin.close()
    assert pinecone_server.data.namespaces
    assert "--exact changes nothing" in shop("similar", "kettle-1", "--exact").err

    shop("index", "drop", "--yes")
    assert "recsys index create" in shop("similar", "kettle-1", exits=1).err
    shop("index", "create")
    assert nearest(shop) == "kettle-2"
    shop("index", "drop", "--yes", "--embeddings")
    assert pinecone_server.data.namespaces == {}


@on_pinecone
def test_a_product_too_large_to_filter_by_fails_no_other(
    recsys: Recsys, pinecone_server: PineconeServer, tmp_path: Path
) -> None:
    feed = tmp_path / "feed.jsonl"
    large = {"name": "Lamp " * 20_000, "category": "Lamps", "brand": "x" * 60_000, "origin": "Uji"}
    rows = [{"id": f"p{n}", "name": f"Desk lamp {n}", "brand": "Lumen"} for n in range(5)]
    feed.write_text("\n".join(map(json.dumps, [*rows, {"id": "large", **large}])))
    recsys("index", "create", "--attribute", "brand", "--attribute", "origin")
    recsys.stock(feed)
    recsys("reembed")

    assert {len(held) for held in pinecone_server.data.namespaces.values()} == {6}
    for held in pinecone_server.data.namespaces.values():
        kept = held["large"]["metadata"]
        assert (len(kept["name"]), kept["category"], kept["attribute_origin"]) == (
            *(2000, "Lamps"),
            "Uji",
        )
        assert "attribute_brand" not in kept
    found = recsys("similar", "p0", "--where", "origin=Uji", "--json").json["neighbors"]
    assert [neighbor["product_id"] for neighbor in found] == ["large"]


@on_pinecone
@pytest.mark.parametrize("command", [("similar", "kettle-1"), ("consume", "--drain")])
def test_a_wrong_key_is_refused_at_once(
    command: tuple[str, ...],
    shop: Recsys,
    pinecone_server: PineconeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", "secret-but-wrong")
    pinecone_server.requests.clear()
    refused = shop(*command, exits=5)
    assert "PINECONE_API_KEY" in refused.err
    assert "secret-but-wrong" not in refused.err
    assert len(pinecone_server.requests) == 1


@on_pinecone
def test_an_outage_is_waited_out(
    shop: Recsys, pinecone_server: PineconeServer, tmp_path: Path
) -> None:
    consumer = RunningConsumer(tmp_path / "consumer.log")
    try:
        shop("product", "put", "before", "--name", "Kettle before")
        wait_until(lambda: holds(pinecone_server, "before"), 20, "the consumer is at work")
        pinecone_server.is_unplugged = True
        shop("product", "put", "meanwhile", "--name", "Kettle meanwhile")
        consumer.says("no answer from Pinecone")
        consumer.says("trying again in")
        assert "no answer from Pinecone" in shop("similar", "kettle-1", exits=5).err
        pinecone_server.is_unplugged = False
        wait_until(lambda: holds(pinecone_server, "meanwhile"), 60, "it is written afterwards")
        consumer.says("answers again")
        consumer.ends_well()
    finally:
        consumer.process.kill()
        consumer.process.wait()


@on_pinecone
@pytest.mark.parametrize("status", [429, 500])
def test_a_service_that_stays_busy_is_waited_for(
    status: int, shop: Recsys, pinecone_server: PineconeServer
) -> None:
    shop("product", "put", "new", "--name", "Kettle, new")
    armed = [status] * 5

    def fail(path: str) -> None:
        if path == "/vectors/upsert" and armed:
            pinecone_server.fail_next(*armed, headers={"retry-after": "0"})
            armed.clear()

    pinecone_server.before = fail
    said = shop("consume", "--drain").err
    assert f"answers {status}; trying again in" in said
    assert "answers again" in said
    assert holds(pinecone_server, "new")


def test_a_busy_service_is_asked_again_when_it_says(
    pinecone_server: PineconeServer, pinecone_index: PineconeIndex
) -> None:
    pinecone_server.fail_next(429, 503, headers={"retry-after": "0.3"})
    started = time.monotonic()
    assert pinecone_index.stats().dimension == 384
    assert time.monotonic() - started >= 0.6
    assert len(pinecone_server.requests) == 3


def test_a_service_that_stays_busy_is_unavailable(
    pinecone_server: PineconeServer, pinecone_index: PineconeIndex
) -> None:
    pinecone_server.fail_next(*[429] * 20, headers={"retry-after": "0"})
    with pytest.raises(BackendUnavailable, match="429"):
        pinecone_index.stats()
    assert 1 < len(pinecone_server.requests) < 20


def test_a_service_that_is_too_slow_is_unavailable(
    pinecone_server: PineconeServer, pinecone_index: PineconeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_TIMEOUT_S", 0.1)
    goes_on = threading.Event()
    pinecone_server.before = lambda _: goes_on.wait(30)
    with pytest.raises(BackendUnavailable, match="no answer from Pinecone"):
        pinecone_index.stats()
    goes_on.set()
    assert pinecone_index.stats().dimension == 384


def test_no_server_is_unavailable() -> None:
    index = PineconeIndex(
        "http://127.0.0.1:9", api_key=API_KEY, cloud="aws", region="r", control=""
    )
    with pytest.raises(BackendUnavailable, match="no answer from Pinecone"):
        index.stats()
    index.close()


def test_a_refusal_says_why(pinecone_server: PineconeServer, pinecone_index: PineconeIndex) -> None:
    pinecone_server.fail_next(403)
    with pytest.raises(BackendRefused, match="injected") as error:
        pinecone_index.stats()
    assert "quotas" in error.value.hint


def test_much_is_written_and_read_in_several_requests(
    pinecone_server: PineconeServer, pinecone_index: PineconeIndex
) -> None:
    rows = np.random.default_rng(1).normal(size=(450, 384)).astype(np.float32)
    pinecone_index.upsert(
        "n", [Record(f"p{n}", row.tolist(), {"id": f"p{n}"}) for n, row in enumerate(rows)]
    )
    found = pinecone_index.fetch("n", [f"p{n}" for n in range(450)])
    assert len(found) == 450
    assert pinecone_server.requests.count("/vectors/upsert") == 3
    assert pinecone_server.requests.count("/vectors/fetch") == 5
    assert sorted(key for page in pinecone_index.pages("n") for key in page) == sorted(found)


def test_the_stand_in_refuses_what_is_not_in_the_contract(pinecone_server: PineconeServer) -> None:
    for method, target in (("POST", "/query"), ("GET", "/no/such/path"), ("POST", "/indexes")):
        status, _, _ = pinecone_server.answer(method, target, HEADERS, b'{"topK": "many"}')
        assert status == 400
    assert len(pinecone_server.violations) == 3
    pinecone_server.violations.clear()


def test_the_bare_sdk_finds_what_it_wrote(pinecone_server: PineconeServer) -> None:
    rows = np.random.default_rng(2).normal(size=(250, 384)).astype(np.float32)
    names = [f"p{n}" for n in range(250)]
    pinecone.writer(pinecone_server.host, names, rows, [{"category": "c"}] * 250)()
    assert pinecone.asker(pinecone_server.host)(rows[7])[0] == "p7"
    assert pinecone_server.requests.count("/vectors/upsert") == 2


def holds(server: PineconeServer, product_id: str) -> bool:
    return any(product_id in held for held in server.data.namespaces.values())
