"""Where the embedded file should be lies something else: every command says so and leaves it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from recsys_cli.backups import BackupHeader
from recsys_cli.connections.sqlite_schema import SCHEMA_VERSION
from recsys_cli.domain import IndexSpec
from recsys_cli.embedding.tfidf import TfidfFactory
from tests.cli.reference import commands
from tests.commands import Recsys, recsys_process

APPLICATION_AT, VERSION_AT = 68, 60
"""Where they stand in the header: https://sqlite.org/fileformat.html."""

FEED = "id,name\n" + "".join(f"p{n},Lamp {n}\n" for n in range(99))

BACKUP = b"\n".join(
    [
        msgspec.json.encode(
            BackupHeader(created_at="", model_version="", spec=IndexSpec(), artifact=None)
        ),
        b'{"record":"product","product_id":"lamp","fields":{"name":"Lamp"}}',
        b'{"record":"end","products":1}\n',
    ]
)

ARGUMENTS: dict[str, list[str]] = {
    "init": [],
    "import": ["feed.csv"],
    "consume": ["--drain"],
    "doctor": [],
    "drift": [],
    "export": ["backup.jsonl"],
    "restore": ["shop.jsonl", "--replace"],
    "promote": ["--to", "redis://localhost:1"],
    "reembed": [],
    "similar": ["p1"],
    "explain": ["p1", "p1"],
    "evaluate": ["--by", "category"],
    "model fit": ["--from-catalog", "-o", "a.model"],
    "model export": ["-o", "a.model"],
    "model info": [],
    "model list": [],
    "model use": ["abc"],
    "model import": ["a.model"],
    "lag": [],
    "pending": [],
    "health": [],
    "dlq list": [],
    "dlq show": ["1"],
    "dlq summary": [],
    "dlq replay": ["--all"],
    "dlq purge": ["--all", "--yes"],
    "group drop": ["unused", "--yes"],
    "product put": ["p1", "--name", "Lamp"],
    "product update": ["p1", "--name", "Lamp"],
    "product rm": ["p1"],
    "product show": ["p1"],
    "index create": [],
    "index info": [],
    "index check": [],
    "neighbors export": ["-o", "neighbors.jsonl"],
    "index generations": [],
    "index rollback": [],
    "index prune": ["--yes"],
    "index drop": ["--yes"],
}
WITHOUT_THE_FILE = {"config show", "demo", "model merge"}


@pytest.fixture(scope="module")
def our_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an embedded file holds after an import and a drain."""
    folder = tmp_path_factory.mktemp("ours")
    (folder / "feed.csv").write_text(FEED)
    for command in (["import", "feed.csv"], ["consume", "--drain"]):
        process = recsys_process(*command, env={"RECSYS_HOME": "."}, cwd=folder)
        process.communicate()
        assert process.returncode == 0
    return (folder / "recsys.db").read_bytes()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the embedded file, with a feed beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_HOME", "home")
    (tmp_path / "feed.csv").write_text(FEED)
    (tmp_path / "shop.jsonl").write_bytes(BACKUP)
    (tmp_path / "a.model").write_bytes(TfidfFactory().fit([]).to_bytes())
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def text(_: bytes) -> bytes:
    return b"these are notes, no database\n" * 200


def beginning(_: bytes) -> bytes:
    return b"SQLite format 3\0"


def other_program(ours: bytes) -> bytes:
    return header(ours, APPLICATION_AT, 77)


def no_program(ours: bytes) -> bytes:
    return header(ours, APPLICATION_AT, 0)


def newer_version(ours: bytes) -> bytes:
    return header(ours, VERSION_AT, SCHEMA_VERSION + 1)


def truncated(ours: bytes) -> bytes:
    return ours[: len(ours) // 2]


def header(ours: bytes, at: int, number: int) -> bytes:
    return ours[:at] + number.to_bytes(4, "big") + ours[at + 4 :]


SENTENCES: dict[Callable[[bytes], bytes], str] = {
    text: "is not a recsys file",
    beginning: "is not a recsys file",
    other_program: "is a database of another program",
    no_program: "is a database of another program",
    newer_version: f"newer recsys (file version {SCHEMA_VERSION + 1}; ",
    truncated: "is damaged",
}


def test_every_command_is_tried() -> None:
    assert ARGUMENTS.keys() | WITHOUT_THE_FILE == commands().keys()


@pytest.mark.parametrize("kind", SENTENCES, ids=lambda kind: kind.__name__)
def test_it_is_left_alone(
    recsys_embedded: Recsys, home: Path, our_file: bytes, kind: Callable[[bytes], bytes]
) -> None:
    (home / "recsys.db").write_bytes(kind(our_file))
    # What another program that crashed leaves beside its file; SQLite would be glad to apply it.
    (home / "recsys.db-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(60))
    if kind is truncated:
        (home / "recsys.db-wal").unlink()
    before = contents(home)

    for command, arguments in ARGUMENTS.items():
        result = recsys_embedded(*command.split(), *arguments, exits=1)
        errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, result.err
        assert SENTENCES[kind] in errors[0]
        assert "recsys.db" in errors[0]
        assert contents(home) == before, command


def test_an_empty_file_becomes_ours(recsys_embedded: Recsys, home: Path) -> None:
    (home / "recsys.db").touch()
    assert recsys_embedded("lag", "--json").json["length"] == 0
    recsys_embedded("import", "feed.csv")
    assert recsys_embedded("lag", "--json").json["length"] == 99


def test_a_folder_in_its_place_is_one_sentence(recsys_embedded: Recsys, home: Path) -> None:
    (home / "recsys.db").mkdir()
    for command, arguments in ARGUMENTS.items():
        result = recsys_embedded(*command.split(), *arguments, exits=1)
        assert "error: home/recsys.db is not a file" in result.err


@pytest.mark.parametrize("seed", range(4))
def test_damage_in_the_middle_is_one_sentence_or_not_noticed(
    recsys_embedded: Recsys, home: Path, our_file: bytes, seed: int
) -> None:
    chance = random.Random(seed)
    damaged = bytearray(our_file)
    used = [at for at in range(4096, len(our_file), 256) if any(our_file[at : at + 256])]
    for at in chance.sample(used, 20):
        damaged[at : at + 200] = chance.randbytes(200)
    for command, arguments in ARGUMENTS.items():
        (home / "recsys.db").write_bytes(damaged)
        result = recsys_embedded(*command.split(), *arguments, exits=None)
        assert result.exit_code in (0, 1, 3, 4, 5), result.err
        errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == (result.exit_code in (1, 4, 5)), result.err
        for left in home.glob("recsys.db-*"):
            left.unlink()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
