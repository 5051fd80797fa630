"""A password is in nothing that a command says, wherever it comes from, whatever goes wrong."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.core import TyperCommand

from recsys_cli.embedding.tfidf import TfidfFactory
from recsys_cli.errors import BackendRefused
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.acl import acl_user, operator_rules, worker_rules
from tests.cli.reference import commands
from tests.cli.test_foreign_file import BACKUP
from tests.commands import Recsys
from tests.servers import RedisServer, free_port

MARK = "hunter2"
SECRET = f"{MARK}@{MARK}:{MARK}/{MARK}?{MARK}#{MARK}&{MARK}=%{MARK} é"
ENCODED = quote(SECRET, safe="")

NEEDED = {
    "consume": ["--drain"],
    "product update": ["--price", "5"],
    "product put": ["--name", "Lamp"],
    "evaluate": ["--by", "category"],
    "model fit": ["--from-catalog", "-o", "lamp.model"],
    "model export": ["-o", "lamp.model"],
    "index drop": ["--yes"],
    "index prune": ["--yes"],
    "promote": ["--to", "redis://localhost:1"],
    "restore": ["--replace"],
    "group drop": ["--yes"],
    "dlq purge": ["--yes", "--all"],
    "dlq replay": ["--all"],
}
ARGUMENTS = {"files": "feed.csv", "letter_id": "1-1", "ids": None, "file": None, "feeds": None}
ARGUMENTS |= {"model_file": "a.model", "backup_file": "shop.jsonl"}


@dataclass
class Place:
    """Where somebody may put the password: environment, recsys.toml, flags."""

    environ: dict[str, str] = field(default_factory=dict)
    toml: str = ""
    flags: list[str] = field(default_factory=list)


def places(port: int, user: str) -> dict[str, Place]:
    url = f"redis://{user}:{ENCODED}@127.0.0.1:{port}/0"
    query = f"redis://127.0.0.1:{port}/0?username={user}&password={ENCODED}"
    bare = f"redis://{user}@127.0.0.1:{port}/0"
    return {
        "REDIS_URL": Place({"REDIS_URL": url}),
        "REDIS_URL, as an option": Place({"REDIS_URL": query}),
        "REDIS_URL, not encoded": Place({"REDIS_URL": f"redis://{user}:{SECRET}@127.0.0.1:{port}"}),
        "REDIS_PASSWORD": Place({"REDIS_URL": bare, "REDIS_PASSWORD": SECRET}),
        "REDIS_PASSWORD, plain": Place({"REDIS_URL": bare, "REDIS_PASSWORD": MARK}),
        "recsys.toml, URL": Place(toml=f"redis_url = '{url}'"),
        "recsys.toml, password": Place(toml=f"redis_url = '{bare}'\nredis_password = '{SECRET}'"),
        "--redis": Place(flags=["--redis", url]),
    }


@contextmanager
def nobody(_: RedisServer) -> Iterator[tuple[int, str]]:
    yield free_port(), "shop"


@contextmanager
def refusing(server: RedisServer) -> Iterator[tuple[int, str]]:
    with acl_user(server, ["+@all", "~*"], "shop"):
        yield server.port, "shop"


@contextmanager
def forbidding(server: RedisServer) -> Iterator[tuple[int, str]]:
    with acl_user(server, [f">{SECRET}"], "shop"):
        yield server.port, "shop"


@contextmanager
def serving(server: RedisServer) -> Iterator[tuple[int, str]]:
    rules = [*worker_rules(), *operator_rules(), f">{SECRET}"]
    with acl_user(server, rules, "shop"):
        yield server.port, "shop"


STATES = {state.__name__: state for state in (nobody, refusing, forbidding, serving)}
ANSWERS = {"nobody": {5}, "refusing": {5}, "forbidding": {5}, "serving": {0, 1, 3, 4}}

CASES = [
    *((state, "REDIS_PASSWORD") for state in STATES),
    *(("refusing", place) for place in places(0, "") if place != "REDIS_PASSWORD"),
    *(("serving", place) for place in ("REDIS_URL", "--redis")),
]


def invocations() -> Iterator[list[str]]:
    for name, command in commands().items():
        if name in {"demo", "model merge"}:  # They talk to no backend.
            continue
        words = name.split() + NEEDED.get(name, []) + list(_arguments(command))
        yield words
        if any("--json" in parameter.opts for parameter in command.params):
            yield [*words, "--json"]


def _arguments(command: TyperCommand) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            value = ARGUMENTS.get(str(parameter.name), "lamp")
            if value is not None:
                yield value


@pytest.fixture
def _files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the commands read."""
    monkeypatch.chdir(tmp_path)
    Path("feed.csv").write_text("id,name,category\nlamp,Desk lamp,A\nlamp-2,Desk lamp small,A\n")
    Path("shop.jsonl").write_bytes(BACKUP)
    Path("a.model").write_bytes(TfidfFactory().fit([]).to_bytes())


def run_all(
    recsys: Recsys, caplog: pytest.LogCaptureFixture, expected: set[int], *flags: str
) -> None:
    """Run every command; each ends with one of these codes, and says nothing of the password."""
    caplog.set_level(logging.DEBUG)
    for words in invocations():
        result = recsys(*words, *flags, exits=None)
        assert MARK not in result.out + result.err + caplog.text, words
        if words[:2] != ["config", "show"]:
            # Its target is nowhere.
            codes = expected | {5} if words[0] == "promote" else expected
            assert result.exit_code in codes, (words, result)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("state", "place"), CASES)
def test_no_command_shows_it(
    state: str,
    place: str,
    redis_server: RedisServer,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with STATES[state](redis_server) as (port, user):
        chosen = places(port, user)[place]
        for name, value in chosen.environ.items():
            monkeypatch.setenv(name, value)
        Path("recsys.toml").write_text(chosen.toml)
        expected = {2} if "not encoded" in place else ANSWERS[state]
        run_all(recsys_embedded, caplog, expected, *chosen.flags)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        # No letter has such an id, whoever is there.
        (ENCODED, {4, 5}),
        (SECRET, {2}),
        # What libpq makes of these is a host, a port or a database.
        *((f"{MARK}{sign}{MARK}", {2}) for sign in ("/", "@", "@se:", "?a=b@")),
    ],
)
def test_no_command_shows_that_of_postgres(
    written: str,
    expected: set[int],
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "supabase")
    monkeypatch.setenv("VECTOR_STORE_TYPE", "supabase")
    monkeypatch.setenv("SUPABASE_DB_URL", f"postgresql://me:{written}@127.0.0.1:1/shop")
    run_all(recsys_embedded, caplog, expected)


def test_one_in_the_list_of_processes_is_warned_of(
    redis_server: RedisServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis_server.url.replace("redis://", f"redis://default:{ENCODED}@")
    for words in (["lag", "--redis", url], ["--redis", url, "lag"]):
        said = recsys_embedded(*words, exits=None).err
        assert "can read the password in --redis; put it into REDIS_PASSWORD" in said
    monkeypatch.setenv("REDIS_URL", url)
    assert "--redis" not in recsys_embedded("lag", exits=None).err
    assert "password" not in recsys_embedded("lag", "--redis", redis_server.url).err


def test_errors_of_the_python_api_are_as_silent(redis_server: RedisServer) -> None:
    environ = {"REDIS_URL": redis_server.url, "REDIS_USERNAME": "shop", "REDIS_PASSWORD": SECRET}
    with Backends(load({}, environ)) as opened:
        with pytest.raises(BackendRefused) as error:
            opened.get_event_processor().status()
        told = "".join(traceback.format_exception(error.value))
        assert MARK not in told + repr(opened.settings) + repr(vars(opened))
    assert "does not accept the user name or password" in told
