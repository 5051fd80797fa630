"""The embedded file: one SQLite database that several processes and threads use at once.

A writer never blocks readers (write-ahead log), and a killed process leaves whole transactions
only. Each block of work borrows a connection of its own, so that a waiting thread holds nothing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from recsys_cli.domain import Health
from recsys_cli.errors import BackendRefused, BackendUnavailable, NotOurFile, RecsysError

APPLICATION_ID = int.from_bytes(b"recs", "big")
SCHEMA_VERSION = 2

_SCHEMA = Path(__file__).with_name("schema.sql")
_UPGRADES = {
    1: """
        ALTER TABLE events ADD COLUMN original_id TEXT;
        ALTER TABLE events ADD COLUMN replays TEXT;
        ALTER TABLE deliveries ADD COLUMN failure TEXT;""",
}
"""What to do to a file of each earlier version."""

_MAPPED_BYTES = 1 << 30
_RETRY_S = 0.01

_ELSEWHERE = "set RECSYS_HOME to another folder"
_WRITABLE = "set RECSYS_HOME to a folder that you may write to"
_RESTORE = "move it away and import the products again, or restore a backup"

_MEANINGS: dict[int, tuple[type[RecsysError], str, str]] = {
    sqlite3.SQLITE_NOTADB: (NotOurFile, "{} is not a recsys file", _ELSEWHERE),
    sqlite3.SQLITE_CORRUPT: (NotOurFile, "{} is damaged", _RESTORE),
    sqlite3.SQLITE_BUSY: (BackendUnavailable, "another process keeps {} locked", ""),
    sqlite3.SQLITE_LOCKED: (BackendUnavailable, "another process keeps {} locked", ""),
    sqlite3.SQLITE_PROTOCOL: (BackendUnavailable, "another process keeps {} locked", ""),
    sqlite3.SQLITE_FULL: (BackendUnavailable, "no space is left for {}", "free some disk space"),
    sqlite3.SQLITE_IOERR: (BackendUnavailable, "cannot read or write {}", ""),
    sqlite3.SQLITE_NOMEM: (BackendUnavailable, "no memory is left to use {}", ""),
    sqlite3.SQLITE_READONLY: (BackendRefused, "may not write to {}", _WRITABLE),
    sqlite3.SQLITE_PERM: (BackendRefused, "may not use {}", _WRITABLE),
    sqlite3.SQLITE_CANTOPEN: (BackendRefused, "cannot open {}", _WRITABLE),
}

_Inode: TypeAlias = tuple[int, int]

# Closing any descriptor of a database file drops every lock that this process holds on it
# (https://sqlite.org/howtocorrupt.html, 2.2): files are made and opened by one thread at a time.
_opening = threading.Lock()


class EmbeddedFile:
    """The database at ``path``, made on first use; ``busy_timeout_s``: how long to wait for locks.

    Closing it lets go of the connections; the next use opens it again.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 30.0) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._idle: list[tuple[_Inode | None, sqlite3.Connection]] = []
        self._writing = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees the file as it is now, whatever is written meanwhile."""
        with self._borrowed() as connection, _within(connection, "BEGIN"):
            yield connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that alone may write: all of the block lands, or nothing."""
        # SQLite's own waiting sleeps and tries again; within the process a lock is sooner.
        with (
            self._writing,
            self._borrowed() as connection,
            _within(connection, "BEGIN IMMEDIATE"),
        ):
            yield connection

    def health(self, part: str) -> Health:
        """Return who answers for ``part``; opens the file, and so makes it if it is missing."""
        with self.reading() as connection:
            (version,) = connection.execute("SELECT sqlite_version()").fetchone()
            (size,) = connection.execute(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            ).fetchone()
        return Health(
            part=part,
            address=str(self.path),
            version=f"SQLite {version}",
            details=f"embedded file, {size / 1_000_000:.1f} MB",
        )

    def close(self) -> None:
        """Close the connections that nobody is using. Closing twice is harmless."""
        while (idle := self._pop()) is not None:
            idle[1].close()

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        with translated(self.path):
            inode, connection = self._take()
            try:
                yield connection
            finally:
                self._idle.append((inode, connection))

    def _take(self) -> tuple[_Inode | None, sqlite3.Connection]:
        inode = _inode(self.path)
        while (idle := self._pop()) is not None:
            if idle[0] == inode:
                return idle
            # The file was removed or replaced: what this one has open nobody else sees.
            idle[1].close()
        with _opening:
            connection = self._open()
            return _inode(self.path), connection

    def _pop(self) -> tuple[_Inode | None, sqlite3.Connection] | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _open(self) -> sqlite3.Connection:
        _make_private(self.path)
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            version = self._version(connection)
            if version is None:
                _create_schema(connection, self._busy_timeout_s)
            elif version < SCHEMA_VERSION:
                _upgrade(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _version(self, connection: sqlite3.Connection) -> int | None:
        """Return the file's version, None while it is empty. Raises NotOurFile."""
        with _within(connection, "BEGIN"):
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if tables == 0 and application_id in (0, APPLICATION_ID):
            return None
        if application_id != APPLICATION_ID:
            raise NotOurFile(
                f"{self.path} is a database of another program",
                hint=_ELSEWHERE,
            )
        if version > SCHEMA_VERSION:
            raise NotOurFile(
                f"{self.path} was written by a newer recsys"
                f" (file version {version}; this one reads up to {SCHEMA_VERSION})",
                hint="pip install --upgrade recsys-cli",
            )
        return version


def named_queries(path: Path) -> dict[str, str]:
    """Return the queries of an SQL file, each under the name in the ``-- name:`` line above it."""
    _, *sections = path.read_text(encoding="utf-8").split("-- name: ")
    return {name.strip(): query for name, _, query in (s.partition("\n") for s in sections)}


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what SQLite or the file system has against ``path`` as one of our errors."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise translation(path, error) from error
    except OSError as error:
        raise BackendRefused(
            f"cannot use {path}: {error.strerror or error}", hint=_WRITABLE
        ) from error


def translation(path: Path, error: sqlite3.Error | sqlite3.Warning) -> RecsysError:
    """Return our error for SQLite's (https://sqlite.org/rescode.html)."""
    # The low byte is the primary result code; what the Python module raises itself has none.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    kind, what, hint = _MEANINGS.get(code, (BackendRefused, "cannot use {}", ""))
    return kind(f"{what.format(path)}: {error}", hint=hint)


@contextlib.contextmanager
def _within(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # Not after a commit; and some errors have rolled back already.
        if connection.in_transaction:
            connection.rollback()


def _make_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _create_schema(connection: sqlite3.Connection, timeout_s: float) -> None:
    _enter_wal(connection, timeout_s)
    connection.executescript(
        f"BEGIN IMMEDIATE;\n{_SCHEMA.read_text(encoding='utf-8')}"
        f"PRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {SCHEMA_VERSION};"
        "COMMIT;"
    )


def _upgrade(connection: sqlite3.Connection) -> None:
    with _within(connection, "BEGIN IMMEDIATE"):
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
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return


def _inode(path: Path) -> _Inode | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
