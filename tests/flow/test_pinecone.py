"""The main job with Pinecone for the vectors, on a stand-in for its data plane."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pinecone as sdk
import pytest

from recsys_cli.connections.pinecone import PineconeIndex, Record, key_of
from recsys_cli.errors import BackendRefused, BackendUnavailable, MissingDependency
from tests.benchmarks.limits import pinecone
from tests.commands import Recsys
from tests.flow.test_main_job import CATALOGUE
from tests.pinecone_server import API_KEY, PineconeServer
from tests.servers import RedisServer


@pytest.fixture
def server() -> Iterator[PineconeServer]:
    with PineconeServer(dimension=384).running() as server:
        yield server


@pytest.fixture
def index(server: PineconeServer) -> Iterator[PineconeIndex]:
    index = PineconeIndex(server.host, api_key=API_KEY, cloud="aws", region="r", control="")
    yield index
    index.close()


@pytest.fixture(params=["embedded", "redis"])
def shop(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: PineconeServer,
    tmp_path: Path,
) -> Recsys:
    monkeypatch.setenv("VECTOR_STORE_TYPE", "pinecone")
    monkeypatch.setenv("PINECONE_HOST", server.host)
    monkeypatch.setenv("PINECONE_API_KEY", API_KEY)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        monkeypatch.setenv("REDIS_URL", redis.url)
    feed = tmp_path / "catalogue.csv"
    feed.write_text(CATALOGUE)
    return Recsys(monkeypatch, capsys).stock(feed)


def nearest(recsys: Recsys) -> str:
    found = recsys("similar", "kettle-1", "-n", 1, "--json").json["neighbors"]
    return str(found[0]["product_id"])


def test_from_a_file_to_neighbors(shop: Recsys, server: PineconeServer) -> None:
    assert nearest(shop) == "kettle-2"
    assert {len(held) for held in server.data.namespaces.values()} == {6}
    for command in ("lag", "pending", "health", "doctor", "dlq list", "index info"):
        result = shop(*command.split())
        assert API_KEY not in result.out + result.err
    assert API_KEY not in shop("config", "show").out


def test_another_generation_serves_and_the_earlier_one_again(
    shop: Recsys, server: PineconeServer
) -> None:
    shop("reembed")
    assert len(server.data.namespaces) == 2
    assert nearest(shop) == "kettle-2"
    shop("index", "rollback")
    assert nearest(shop) == "kettle-2"


def test_a_wrong_key_is_refused_at_once(
    shop: Recsys, server: PineconeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", "secret-but-wrong")
    server.requests.clear()
    refused = shop("similar", "kettle-1", exits=5)
    assert "PINECONE_API_KEY" in refused.err
    assert "secret-but-wrong" not in refused.err
    assert len(server.requests) == 1


def test_a_busy_service_is_asked_again(server: PineconeServer, index: PineconeIndex) -> None:
    server.fail_next(429, 503, headers={"retry-after": "0"})
    assert index.stats().dimension == 384
    assert len(server.requests) == 3


def test_a_service_that_stays_busy_is_unavailable(
    server: PineconeServer, index: PineconeIndex
) -> None:
    server.fail_next(*[429] * 20, headers={"retry-after": "0"})
    with pytest.raises(BackendUnavailable, match="429"):
        index.stats()
    assert 1 < len(server.requests) < 20


def test_no_server_is_unavailable() -> None:
    index = PineconeIndex(
        "http://127.0.0.1:9", api_key=API_KEY, cloud="aws", region="r", control=""
    )
    with pytest.raises(BackendUnavailable, match="no answer from Pinecone"):
        index.stats()
    index.close()


def test_a_refusal_says_why(server: PineconeServer, index: PineconeIndex) -> None:
    server.fail_next(403)
    with pytest.raises(BackendRefused, match="injected") as error:
        index.stats()
    assert "quotas" in error.value.hint


def test_much_is_written_and_read_in_several_requests(
    server: PineconeServer, index: PineconeIndex
) -> None:
    rows = np.random.default_rng(1).normal(size=(450, 384)).astype(np.float32)
    index.upsert(
        "n", [Record(f"p{n}", row.tolist(), {"id": f"p{n}"}) for n, row in enumerate(rows)]
    )
    found = index.fetch("n", [f"p{n}" for n in range(450)])
    assert len(found) == 450
    assert server.requests.count("/vectors/upsert") == 3
    assert server.requests.count("/vectors/fetch") == 5
    assert sorted(key for page in index.pages("n") for key in page) == sorted(found)


def test_any_text_has_a_key_that_pinecone_takes() -> None:
    texts = ["p-1", "#p", "Đèn bàn", "a b", "x" * 512, "x" * 513, "\n", ""]
    keys = [key_of(text) for text in texts]
    assert len(set(keys)) == len(texts)
    assert all(key.isascii() and 0 < len(key) <= 512 for key in keys)
    assert keys[0] == "p-1"


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinecone", None)
    monkeypatch.delitem(sys.modules, "recsys_cli.connections.pinecone")
    with pytest.raises(MissingDependency) as error:
        importlib.import_module("recsys_cli.connections.pinecone")
    assert error.value.hint == "pip install 'recsys-cli[pinecone]'"


def test_the_stand_in_refuses_what_is_not_in_the_contract(server: PineconeServer) -> None:
    headers = {"api-key": API_KEY, "x-pinecone-api-version": "2026-04"}
    status, _, _ = server.answer("POST", "/query", headers, b'{"topK": "many"}')
    assert status == 400
    status, _, _ = server.answer("GET", "/no/such/path", headers, b"")
    assert status == 400
    assert len(server.violations) == 2
    server.violations.clear()


def test_the_bare_sdk_finds_what_it_wrote(
    server: PineconeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(2).normal(size=(250, 384)).astype(np.float32)
    names = [f"p{n}" for n in range(250)]
    with sdk.Index(host=server.host, api_key=API_KEY) as index:
        monkeypatch.setattr(sdk, "Index", lambda **_: index)
        pinecone.writer(server.host, names, rows, [{"category": "c"}] * 250)()
        assert pinecone.asker(server.host)(rows[7])[0] == "p7"
    assert server.requests.count("/vectors/upsert") == 2
