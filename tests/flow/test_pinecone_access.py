"""How to reach Pinecone: a wrong key or host is one sentence, and no key gets elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing

import pytest

from recsys_cli.connections.pinecone import PineconeIndex
from recsys_cli.errors import (
    BackendRefused,
    BackendUnavailable,
    IndexMissing,
    SettingsError,
)
from tests.commands import Recsys
from tests.pinecone_server import API_KEY, PineconeServer

on_pinecone = pytest.mark.parametrize("recsys", ["embedded+pinecone"], indirect=True)
GZIP = {"content-encoding": "gzip"}


def opened(host: str | None, *, control: str = "", api_key: str = API_KEY) -> PineconeIndex:
    return PineconeIndex(host, api_key=api_key, cloud="aws", region="r", control=control)


@pytest.fixture
def elsewhere() -> Iterator[PineconeServer]:
    with PineconeServer(dimension=384).running() as server:
        yield server


@on_pinecone
@pytest.mark.parametrize("key", ["pcsk_S€CRET", "pcsk_\nSECRET", "pcsk_SECRET\x7f"])
@pytest.mark.parametrize("is_made", [True, False])
def test_a_key_that_is_none_is_refused_and_not_shown(
    key: str,
    is_made: bool,
    recsys: Recsys,
    pinecone_server: PineconeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", key)
    if is_made:
        monkeypatch.delenv("PINECONE_HOST")
        monkeypatch.setenv("PINECONE_CONTROLLER_HOST", pinecone_server.host)
    said = recsys("index", "create", exits=2)
    assert "PINECONE_API_KEY has a character that no API key has" in said.err
    assert "pcsk" not in said.out + said.err
    assert pinecone_server.requests == []


def test_space_around_a_key_does_no_harm(pinecone_server: PineconeServer) -> None:
    host = pinecone_server.host
    with closing(opened(host, control=host, api_key=f" {API_KEY}\n")) as index:
        assert index.stats().dimension == 384
        index.make("shop", 384)
        assert index.address == host


@on_pinecone
@pytest.mark.parametrize("name", ["PINECONE_HOST", "PINECONE_CONTROLLER_HOST"])
@pytest.mark.parametrize(
    "host",
    ["http://127.0.0.1:x", "http://[::1", "x" * 70 + ".example", "https://u:secret@i.example"],
)
def test_a_host_that_is_none_is_refused(
    host: str, name: str, recsys: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PINECONE_HOST")
    monkeypatch.setenv(name, host)
    said = recsys("index", "create", exits=2).err
    assert f"{name} is " in said
    assert "that is no host" in said
    assert "secret" not in said


def test_a_host_that_only_the_sdk_refuses_is_refused_the_same_way() -> None:
    with pytest.raises(SettingsError, match="PINECONE_HOST is 'https://index': that is no host"):
        opened("index").stats()


def test_a_host_without_a_scheme_is_asked_over_tls(pinecone_server: PineconeServer) -> None:
    bare = pinecone_server.host.removeprefix("http://")
    with pytest.raises(BackendUnavailable, match=f"https://{bare}: .*SSL"):
        opened(None, control=bare).make("shop", 384)
    with (
        closing(opened(bare)) as index,
        pytest.raises(BackendUnavailable, match="no answer from Pinecone"),
    ):
        index.stats()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(
    status: int,
    pinecone_index: PineconeIndex,
    pinecone_server: PineconeServer,
    elsewhere: PineconeServer,
) -> None:
    calls = (
        lambda: pinecone_index.make("shop", 384),
        pinecone_index.stats,
        lambda: pinecone_index.fetch("n", ["a"]),
    )
    for call in calls:
        pinecone_server.fail_next(status, headers={"location": f"{elsewhere.host}/indexes/shop"})
        with pytest.raises(BackendRefused, match=f"refuses: {status}") as error:
            call()
        assert "https://" in error.value.hint
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"<html>Welcome</html>", {}),
        (200, b"no gzip", GZIP),
        (400, b"no gzip", GZIP),
        (200, b'{"metric": "no UTF-8: \xff", "vectors": 7}', {}),
    ],
)
def test_an_answer_that_is_not_pinecones_is_said_to_be_none(
    status: int,
    body: bytes,
    headers: dict[str, str],
    pinecone_index: PineconeIndex,
    pinecone_server: PineconeServer,
) -> None:
    for call in (pinecone_index.stats, lambda: pinecone_index.fetch("n", ["a"])):
        pinecone_server.fail_next(status, headers=headers, body=body)
        with pytest.raises(BackendUnavailable, match="does not answer as Pinecone does"):
            call()


@pytest.mark.parametrize("status", [200, 403, 500])
def test_half_an_answer_of_the_control_plane_is_none(
    status: int, pinecone_index: PineconeIndex, pinecone_server: PineconeServer
) -> None:
    pinecone_server.fail_next(status, headers={"content-length": "99", "connection": "close"})
    with pytest.raises(BackendUnavailable, match="IncompleteRead"):
        pinecone_index.make("shop", 384)


@on_pinecone
def test_a_broken_answer_is_not_the_fault_of_an_event(
    recsys: Recsys, pinecone_server: PineconeServer
) -> None:
    recsys("index", "create")
    recsys("product", "put", "new", "--name", "Kettle, new")
    armed = [True]

    def garble(path: str) -> None:
        if path == "/vectors/upsert" and armed:
            armed.clear()
            pinecone_server.fail_next(200, headers=GZIP, body=b"no gzip")

    pinecone_server.before = garble
    said = recsys("consume", "--drain", "--max-deliveries", 1).err
    assert "does not answer as Pinecone does" in said
    assert recsys("dlq", "list", "--json").out == ""
    assert recsys("similar", "--text", "kettle", "--json").json["neighbors"]


def test_no_index_there_says_what_helps(
    pinecone_index: PineconeIndex, pinecone_server: PineconeServer
) -> None:
    pinecone_server.fail_next(404)
    with pytest.raises(IndexMissing) as error:
        pinecone_index.stats()
    assert "unset it and run recsys index create" in error.value.hint


def test_the_sdk_does_not_warn_beside_us() -> None:
    with warnings.catch_warnings(), closing(opened("http://index.invalid")) as index:
        warnings.simplefilter("error")
        with pytest.raises(BackendUnavailable):
            index.stats()


@on_pinecone
def test_an_index_for_another_metric_is_refused(
    recsys: Recsys, pinecone_server: PineconeServer
) -> None:
    pinecone_server.data.metric = "euclidean"
    said = recsys("index", "create", exits=1).err
    assert "has the metric euclidean, not cosine" in said
    assert "PINECONE_HOST" in said
