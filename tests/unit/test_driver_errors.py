"""No driver's own exception leaves an adapter: every one of them has a sentence of ours."""

from __future__ import annotations

import inspect
import sqlite3
from pathlib import Path

import pinecone.errors
import pytest
import redis.exceptions

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


PINECONE = [
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
def test_every_error_of_pinecone_is_translated(
    error: type[pinecone.errors.PineconeError], status: int
) -> None:
    instance = made(error)
    instance.__dict__.update(message="something went wrong", status_code=status)
    assert isinstance(instance, pinecone.errors.PineconeError)
    translated = of_pinecone(instance, "index.example")
    assert isinstance(translated, BackendUnavailable | BackendRefused | IndexMissing)
    is_ours = isinstance(
        instance, pinecone.errors.PineconeValueError | pinecone.errors.PineconeTypeError
    )
    assert "index.example" in str(translated) or is_ours


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
