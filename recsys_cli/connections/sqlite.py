"""The embedded file: one SQLite database that several processes and threads use at once.

A writer never blocks readers (write-ahead log), and a killed process leaves whole transactions
only. Each block of work borrows a connection of its own, so that a waiting thread holds nothing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from recsys_cli.connections import sqlite_schema
from recsys_cli.connections.sqlite_errors import translated
from recsys_cli.connections.sqlite_schema import within
from recsys_cli.domain import Health

LOG_BYTES = 64 << 20
"""How long the write-ahead log may become before a writer waits for the readers to let go of it."""

_LOG_WAIT_MS = 2000
_MAPPED_BYTES = 1 << 30

_Inode: TypeAlias = tuple[int, int]

# Closing any descriptor of a database file drops every lock that this process holds on it
# (https://sqlite.org/howtocorrupt.html, 2.2): files are made and opened by one thread at a time.
_opening = threading.Lock()

_ours: set[_Inode] = set()
"""Files that this process may have open, and must not open in any other way."""


class EmbeddedFile:
    """The database at ``path``, made on first use; ``busy_timeout_s``: how long to wait for locks.

    Closing it lets go of the connections; the next use opens it again.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 30.0) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._idle: list[tuple[_Inode | None, sqlite3.Connection]] = []
        self._writing = threading.Lock()
        self._log = Path(f"{os.path.realpath(path)}-wal")
        self._log_limit = LOG_BYTES

    @contextlib.contextmanager
    def reading(self, *, mapped: bool = False) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees the file as it is now, whatever is written meanwhile.

        ``mapped``: for who goes through much of it. The file then counts as the process's memory,
        though the system takes it back when it needs it.
        """
        with self._borrowed() as connection:
            if mapped:
                connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
            with within(connection, "BEGIN"):
                yield connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that alone may write: all of the block lands, or nothing."""
        # SQLite's own waiting sleeps and tries again; within the process a lock is sooner.
        with self._writing, self._borrowed() as connection:
            with within(connection, "BEGIN IMMEDIATE"):
                yield connection
            self._shorten_log(connection)

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
        sqlite_schema.make_private(self.path)
        inode = _inode(self.path)
        if inode is not None and inode not in _ours:
            sqlite_schema.refuse_foreign(self.path)
            _ours.add(inode)
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            sqlite_schema.prepare(connection, self.path, self._busy_timeout_s)
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        """Empty the write-ahead log when it has become long.

        SQLite starts it anew only in a moment without readers, which may never come. Somebody who
        reads for longer than we wait lets it grow by as much again before the next try.
        """
        try:
            size = self._log.stat().st_size
        except OSError:
            return
        if size < self._log_limit:
            return
        is_busy = 1
        # The transaction has landed, so whatever is the matter here can wait.
        with contextlib.suppress(sqlite3.Error), _waiting(connection, _LOG_WAIT_MS):
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._log_limit = LOG_BYTES + (size if is_busy else 0)


@contextlib.contextmanager
def _waiting(connection: sqlite3.Connection, timeout_ms: int) -> Iterator[None]:
    """Wait no longer than this for a lock within the block."""
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")


def named_queries(path: Path) -> dict[str, str]:
    """Return the queries of an SQL file, each under the name in the ``-- name:`` line above it."""
    _, *sections = path.read_text(encoding="utf-8").split("-- name: ")
    return {name.strip(): query for name, _, query in (s.partition("\n") for s in sections)}


def _inode(path: Path) -> _Inode | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
