"""No driver's own exception leaves an adapter: every one of them has a sentence of ours."""

from __future__ import annotations

import inspect
import sqlite3
from pathlib import Path

import httpx
import nats.errors
import nats.js.errors
import pinecone.errors
import pytest
import redis.exceptions

from recsys_cli.connections.nats_errors import DRIVER_ERRORS
from recsys_cli.connections.nats_errors import translation as of_nats
from recsys_cli.connections.pinecone_errors import DRIVER_ERRORS as PINECONES
from recsys_cli.connections.pinecone_errors import translated as of_pinecone
from recsys_cli.connections.redis import RedisConnection
from recsys_cli.connections.redis_errors import translation as of_redis
from recsys_cli.connections.sqlite import EmbeddedFile
from recsys_cli.connections.sqlite_errors import translation as of_sqlite
from recsys_cli.errors import (
    BackendRefused,
    BackendUnavailable,
    IndexMissing,
    NotOurFile,
    RecsysError,
    SettingsError,
)
from tests.servers import RedisServer

REDIS = [
    error
    for _, error in inspect.getmembers(redis.exceptions, inspect.isclass)
    if issubclass(error, redis.exceptions.RedisError)
]
SQLITE = [
    error
    for _, error in inspect.getmembers(sqlite3, inspect.isclass)
    if issubclass(error, sqlite3.Error | sqlite3.Warning)
]
NATS = [
    error
    for module in (nats.errors, nats.js.errors)
    for _, error in inspect.getmembers(module, inspect.isclass)
    if issubclass(error, nats.errors.Error)
]
ARGUMENTS = {
    "SlowConsumerError": ("subject", "reply", 1, None),
    "ConsumerSequenceMismatchError": (1, 2, 3),
}
"""Of the errors of NATS that cannot do without."""


PINECONE = [httpx.DecodingError, UnicodeDecodeError] + [
    error
    for _, error in inspect.getmembers(pinecone.errors, inspect.isclass)
    if issubclass(error, pinecone.errors.PineconeError)
]


def made(error: type[Exception]) -> Exception:
    instance = error.__new__(error)
    instance.args = ("something went wrong",)
    return instance


@pytest.mark.parametrize("error", REDIS, ids=lambda error: error.__name__)
def test_every_error_of_redis_is_translated(error: type[Exception]) -> None:
    translated = of_redis("cache:6379", made(error), "XADD")
    assert isinstance(translated, BackendUnavailable | BackendRefused | RecsysError)
    assert "cache:6379" in str(translated)


@pytest.mark.parametrize("error", SQLITE, ids=lambda error: error.__name__)
def test_every_error_of_sqlite_is_translated(error: type[sqlite3.Error]) -> None:
    translated = of_sqlite(Path("shop.db"), error("something went wrong"))
    assert isinstance(translated, RecsysError)
    assert "shop.db" in str(translated)


@pytest.mark.parametrize("status", [400, 401, 402, 404, 408, 429, 500, 503])
@pytest.mark.parametrize("error", PINECONE, ids=lambda error: error.__name__)
def test_every_error_of_pinecone_is_translated(error: type[Exception], status: int) -> None:
    assert issubclass(error, PINECONES)
    instance = made(error)
    instance.__dict__.update(message="something went wrong", status_code=status)
    translated = of_pinecone(instance, "index.example")
    assert isinstance(translated, BackendUnavailable | BackendRefused | IndexMissing)
    is_ours = isinstance(
        instance, pinecone.errors.PineconeValueError | pinecone.errors.PineconeTypeError
    )
    assert "index.example" in str(translated) or is_ours


@pytest.mark.parametrize("error", [*NATS, OSError, TimeoutError], ids=lambda error: error.__name__)
def test_every_error_of_nats_is_translated(error: type[Exception]) -> None:
    assert issubclass(error, DRIVER_ERRORS)
    instance = error(*ARGUMENTS.get(error.__name__, ()))
    translated = of_nats("bus:4222", instance)
    assert isinstance(translated, BackendUnavailable | BackendRefused)
    assert "bus:4222" in str(translated)
    assert "nats:" not in str(translated)


@pytest.mark.parametrize(
    ("code", "err_code", "kind", "sentence"),
    [
        (503, 10008, BackendUnavailable, "nobody answers for JetStream"),
        (503, None, BackendUnavailable, "nobody answers for JetStream"),
        (503, 10039, BackendRefused, "has JetStream switched off"),
        (503, 10035, BackendRefused, "has JetStream switched off"),
        (400, 10113, BackendRefused, "refuses: why (10113)"),
        (500, 10047, BackendUnavailable, "has no storage left"),
        (503, 10077, BackendUnavailable, "cannot store this now: why"),
        (400, 10005, BackendUnavailable, "has too few servers for three replicas"),
        (500, 10999, BackendUnavailable, "cannot serve this now: why"),
        (400, 10999, BackendRefused, "refuses: why (10999)"),
        (404, 10059, BackendRefused, "refuses: why (10059)"),
    ],
)
def test_what_jetstream_says_is_waited_out_or_not(
    code: int, err_code: int | None, kind: type[RecsysError], sentence: str
) -> None:
    said = {"code": code, "description": "why"}
    if err_code is not None:
        said["err_code"] = err_code
    with pytest.raises(nats.js.errors.APIError) as error:
        nats.js.errors.APIError.from_error(said)
    translated = of_nats("bus:4222", error.value)
    assert type(translated) is kind
    assert sentence in str(translated)


@pytest.mark.parametrize(
    "shown",
    [
        "publish to $JS.API.STREAM.CREATE.KV_shop",
        "publish to $KV.recsys-catalog.state.a",
        "publish to product.updates.1",
        "subscribe to _INBOX.a.b",
    ],
)
def test_what_is_denied_is_named(shown: str) -> None:
    """The driver gives what the server says in lower case."""
    verb, _, subject = shown.partition(" to ")
    verb = verb.replace("subscribe", "subscription")
    said = f'nats: permissions violation for {verb} to "{subject.lower()}"'
    error = nats.errors.Error(said)
    translated = of_nats("bus:4222", error)
    assert str(translated) == f"NATS at bus:4222 does not let this user {shown}"


def test_a_wrong_password_is_refused_and_not_shown(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("redis://", "redis://nobody:s3cret@")
    connection = RedisConnection(url)
    with pytest.raises(BackendRefused) as error:
        connection.call("PING")
    connection.close()
    assert "s3cret" not in str(error.value) + error.value.hint
    assert "s3cret" not in connection.address


def test_nobody_there_names_the_address() -> None:
    connection = RedisConnection("redis://127.0.0.1:1")
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1"):
        connection.call("PING")


@pytest.mark.parametrize("url", ["http://cache", "cache:6379", "redis://cache:port"])
def test_a_url_that_is_none_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError):
        RedisConnection(url)


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("these are notes, not a database, and they are long enough to be read " * 20)
    with pytest.raises(NotOurFile, match=r"notes\.db"):
        EmbeddedFile(text).health("events")

    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(NotOurFile, match="another program"):
        EmbeddedFile(foreign).health("events")
    assert text.read_text().startswith("these are notes")


def test_a_file_of_a_newer_version_says_so(tmp_path: Path) -> None:
    file = EmbeddedFile(tmp_path / "recsys.db")
    file.health("events")
    file.close()
    with sqlite3.connect(tmp_path / "recsys.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NotOurFile, match="newer recsys"):
        EmbeddedFile(tmp_path / "recsys.db").health("events")


def test_the_embedded_file_is_private(tmp_path: Path) -> None:
    file = EmbeddedFile(tmp_path / "home" / "recsys.db")
    file.health("events")
    file.close()
    assert file.path.stat().st_mode & 0o777 == 0o600
