from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import redis

from recsys_cli.domain import EventType, Position, ProductMetadata, StoredEmbedding
from recsys_cli.ports import Embedding
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys
from tests.flow.test_reembed import SHOP
from tests.servers import RedisServer
from tests.shops import ONE_EACH

on_every_shop = pytest.mark.parametrize("recsys", ONE_EACH, indirect=True)
ROW = np.eye(1, 384, dtype=np.float32)[0]


@pytest.fixture
def opened(recsys: Recsys) -> Iterator[Backends]:
    recsys.stock(SHOP)
    with Backends(load()) as backends:
        yield backends


def spoil(opened: Backends) -> None:
    """Make one of each that the vector store itself lets happen."""
    vectors = opened.get_vector_store()
    stored = vectors.stored(["prod-101", "prod-102", "prod-103"])
    vectors.remove({"prod-101": stored["prod-101"].position})

    def write(product_id: str, source: StoredEmbedding) -> None:
        vectors.write([Embedding(product_id, ROW, ProductMetadata(), source, "now")])

    write("ghost", stored["prod-102"])
    write(
        "prod-102",
        StoredEmbedding(
            position=stored["prod-102"].position, model_version="other", text_digest="x"
        ),
    )
    vectors.remove({"prod-103": stored["prod-103"].position})
    write(
        "prod-103",
        StoredEmbedding(
            position=Position(0, 1),
            model_version=stored["prod-103"].model_version,
            text_digest="old",
        ),
    )


@on_every_shop
def test_all_is_well(recsys: Recsys, opened: Backends) -> None:
    found = recsys("doctor", "--json").json
    assert found["findings"] == []
    assert (found["products"], found["embeddings"], found["waiting"]) == (152, 152, 0)
    assert "missing\t0" in recsys("doctor").out
    assert "republished" not in recsys("doctor", "--fix").err
    assert opened.get_event_processor().status().lag == 0


@on_every_shop
def test_each_difference_is_found_and_only_those_are_mended(
    recsys: Recsys, opened: Backends
) -> None:
    before = recsys("similar", "prod-102", "--json").json
    spoil(opened)

    shown = recsys("doctor", exits=3)

    for line in (
        "missing\t1: prod-101",
        "orphan\t1: ghost",
        "stale model\t1: prod-102",
        "outdated\t1: prod-103",
        "damaged\t0",
    ):
        assert line in shown.out
    assert "4 differences: recsys doctor --fix" in shown.err
    mended = recsys("doctor", "--fix")
    assert "removed 1 embedding, republished 3 products: recsys consume" in mended.err
    waiting = [event for _, event in opened.get_event_processor().backlog()]
    assert {event.product_id for event in waiting} == {"prod-101", "prod-102", "prod-103"}
    assert {(event.type, len(event.fields)) for event in waiting} == {(EventType.UPDATE, 0)}
    recsys("consume", "--drain")
    assert recsys("doctor", "--json").json["findings"] == []
    after = recsys("similar", "prod-102", "--json").json
    assert [n["product_id"] for n in after["neighbors"]] == [
        n["product_id"] for n in before["neighbors"]
    ]


def test_an_orphan_alone_is_removed_and_nothing_has_to_be_consumed(
    recsys_embedded: Recsys,
) -> None:
    recsys_embedded.stock(SHOP)
    with Backends(load()) as backends:
        source = StoredEmbedding(position=Position(1, 0), model_version="x", text_digest="x")
        backends.get_vector_store().write(
            [Embedding("ghost", ROW, ProductMetadata(), source, "now")]
        )
    assert recsys_embedded("doctor", "--fix").err.endswith("\nremoved 1 embedding\n")


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("SUPABASE_DB_URL", "postgres://x", "EVENT_PROCESSOR_TYPE=supabase or VECTOR_STORE_TYPE="),
        ("NATS_URL", "nats://x", "EVENT_PROCESSOR_TYPE=nats"),
        ("PINECONE_API_KEY", "s3cret", "VECTOR_STORE_TYPE=pinecone"),
    ],
)
def test_what_is_set_and_not_used_is_pointed_out(
    name: str, value: str, advice: str, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    said = recsys_embedded("doctor", exits=4).err
    assert f"{name}: set, and nothing is on " in said
    assert f"to use it, set {advice}" in said
    assert "s3cret" not in said


@on_every_shop
def test_events_that_wait_are_told(recsys: Recsys, opened: Backends) -> None:
    recsys("product", "put", "late", "--name", "A late lamp")
    found = recsys("doctor", exits=3)
    assert "missing\t1: late" in found.out
    assert "1 event waiting: what differs may be on its way" in found.err
    assert opened.get_event_processor().status().lag == 1


@on_every_shop
def test_products_without_words_are_no_difference(recsys: Recsys, opened: Backends) -> None:
    recsys("product", "put", "wordless", "--name", "!!!")
    recsys("consume", "--drain")
    assert recsys("doctor", "--json").json["wordless"] == 1
    assert opened.get_vector_store().get(["wordless"]) == {}


@pytest.mark.parametrize(
    ("field", "value", "ailment"),
    [
        ("vector", b"short", "damaged"),
        ("vector", np.full(384, np.nan, np.float32).tobytes(), "damaged"),
        ("price", b"not a number", "unindexed"),
    ],
)
def test_what_another_program_broke_is_found_and_mended(
    field: str,
    value: bytes,
    ailment: str,
    redis_server: RedisServer,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    recsys = recsys_embedded.stock(SHOP)
    with redis.Redis.from_url(redis_server.url) as client:
        client.hset("product:embedding:prod-101", field, value)
    found = recsys("doctor", "--json", exits=3).json["findings"]
    assert [(f["product_id"], f["ailment"]) for f in found] == [("prod-101", ailment)]
    if ailment == "damaged":
        advised = recsys("similar", "prod-101", exits=1).err
        assert "recsys doctor --fix, then recsys consume --drain" in advised
    recsys("doctor", "--fix")
    recsys("consume", "--drain")
    assert recsys("doctor", "--json").json["findings"] == []
    assert recsys("similar", "prod-101", "--json").json["neighbors"]


def test_the_advice_on_a_damaged_file_mends_it(recsys_embedded: Recsys, tmp_path: Path) -> None:
    recsys = recsys_embedded.stock(SHOP)
    with closing(sqlite3.connect(tmp_path / "home" / "recsys.db")) as connection, connection:
        connection.execute("UPDATE vector_blocks SET vectors = zeroblob(length(vectors))")
    advised = recsys("similar", "prod-101", exits=1).err
    assert "recsys doctor --fix, then recsys consume --drain" in advised
    assert "removed 152 embeddings, republished 152 products" in recsys("doctor", "--fix").err
    recsys("consume", "--drain")
    assert recsys("similar", "prod-101", "--json").json["neighbors"]


@on_every_shop
def test_before_the_first_model_it_says_so(recsys: Recsys) -> None:
    assert "no embedding model yet" in recsys("doctor", exits=4).err


@pytest.mark.parametrize(("port", "advice"), [(6379, "REDIS_URL"), (4222, "EVENT_PROCESSOR_TYPE")])
def test_what_answers_on_a_port_is_pointed_out_and_not_used(
    port: int,
    advice: str,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("RECSYS_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        assert timeout < 1
        if address[1] != port:
            raise ConnectionRefusedError
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    said = recsys_embedded("doctor", exits=None).err
    assert f"something answers on localhost:{port}; " in said
    assert f"set {advice}" in said
    assert said.count("something answers") == 1
