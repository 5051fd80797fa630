"""Whose file it is, and of which version: nothing is opened, or changed, that is not ours.

The first hundred bytes tell it (https://sqlite.org/fileformat.html). They are read before SQLite
has the file, because SQLite would replay a foreign log, and leave files of its own beside it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from recsys_cli.connections.sqlite_errors import ELSEWHERE
from recsys_cli.errors import NotOurFile

APPLICATION_ID = int.from_bytes(b"recs", "big")
SCHEMA_VERSION = 4

_SCHEMA = Path(__file__).with_name("schema.sql")
_UPGRADES = {
    1: """
        ALTER TABLE events ADD COLUMN original_id TEXT;
        ALTER TABLE events ADD COLUMN replays TEXT;
        ALTER TABLE deliveries ADD COLUMN failure TEXT;""",
    2: """
        ALTER TABLE models ADD COLUMN version TEXT NOT NULL DEFAULT '';
        ALTER TABLE models ADD COLUMN fitted_at TEXT NOT NULL DEFAULT '0-0';
        ALTER TABLE models ADD COLUMN saved_at TEXT NOT NULL DEFAULT '';
        ALTER TABLE embeddings ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
        UPDATE models SET version = lower(substr(hex(substr(artifact, -32)), 1, 12));
        CREATE TABLE generations (
            index_name TEXT NOT NULL,
            number INTEGER NOT NULL,
            facts TEXT NOT NULL,
            PRIMARY KEY (index_name, number)) WITHOUT ROWID;
        CREATE TABLE generation_locks (
            index_name TEXT PRIMARY KEY,
            token INTEGER NOT NULL,
            holder TEXT NOT NULL,
            expires_at_ms INTEGER NOT NULL,
            last_number INTEGER NOT NULL) WITHOUT ROWID;""",
    3: "CREATE TABLE notes (name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;",
}
"""What to do to a file of each earlier version."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_VERSION_AT, _APPLICATION_AT = 60, 68
_RETRY_S = 0.01
_PAGE_BYTES = 16_384
"""Vectors are read in half the time that 4096 take. A file that is there keeps its own."""


def refuse_foreign(path: Path) -> None:
    """Raise NotOurFile unless the file is ours or empty, and leave it as it is."""
    if not path.is_file():
        raise NotOurFile(f"{path} is not a file", hint=ELSEWHERE)
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not header:
        return
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise NotOurFile(f"{path} is not a recsys file", hint=ELSEWHERE)
    _check(path, _number(header, _APPLICATION_AT), _number(header, _VERSION_AT))


def make_private(path: Path) -> None:
    """Make an empty file that only its owner may use, unless there is one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def prepare(connection: sqlite3.Connection, path: Path, timeout_s: float) -> None:
    """Bring the file that was just opened to our schema. Raises NotOurFile."""
    with within(connection, "BEGIN"):
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id or version or tables:
        _check(path, application_id, version)
        if version < SCHEMA_VERSION:
            _upgrade(connection)
    else:
        _create(connection)
    # After the schema, so that the file itself says from the first moment whose it is.
    _enter_wal(connection, timeout_s)


@contextlib.contextmanager
def within(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Begin a transaction, and end it with the block."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # Not after a commit; and some errors have rolled back already.
        if connection.in_transaction:
            connection.rollback()


def _check(path: Path, application_id: int, version: int) -> None:
    if application_id != APPLICATION_ID:
        raise NotOurFile(f"{path} is a database of another program", hint=ELSEWHERE)
    if version > SCHEMA_VERSION:
        raise NotOurFile(
            f"{path} was written by a newer recsys"
            f" (file version {version}; this one reads up to {SCHEMA_VERSION})",
            hint="pip install --upgrade recsys-cli",
        )


def _number(header: bytes, at: int) -> int:
    return int.from_bytes(header[at : at + 4], "big")


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"PRAGMA page_size = {_PAGE_BYTES};"
        f"BEGIN IMMEDIATE;\n{_SCHEMA.read_text(encoding='utf-8')}"
        f"PRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {SCHEMA_VERSION};"
        "COMMIT;"
    )


def _upgrade(connection: sqlite3.Connection) -> None:
    with within(connection, "BEGIN IMMEDIATE"):
        # Read again: another process may have been faster.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number in range(version, SCHEMA_VERSION):
            for statement in _UPGRADES[number].split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _enter_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    # SQLite does not wait for this lock, and another process may be at the same point.
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return
