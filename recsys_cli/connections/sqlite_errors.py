"""What SQLite and the file system can have against the embedded file, as sentences."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from recsys_cli.errors import BackendRefused, BackendUnavailable, NotOurFile, RecsysError

ELSEWHERE = "set RECSYS_HOME to another folder"
_WRITABLE = "set RECSYS_HOME to a folder that you may write to"
_RESTORE = "move it away and import the products again, or restore a backup"

_Meaning: TypeAlias = tuple[type[RecsysError], str, str]

_LOCKED: _Meaning = (BackendUnavailable, "another process keeps {} locked", "")
_FULL: _Meaning = (BackendUnavailable, "no space is left for {}", "free some disk space")
_LIMITED: _Meaning = (
    BackendUnavailable,
    "cannot write to {}",
    "see whether the disk is full, or a quota or a size limit is reached",
)
_UNUSABLE: _Meaning = (BackendRefused, "cannot use {}", _WRITABLE)

_MEANINGS: dict[int, _Meaning] = {
    sqlite3.SQLITE_NOTADB: (NotOurFile, "{} is not a recsys file", ELSEWHERE),
    sqlite3.SQLITE_CORRUPT: (NotOurFile, "{} is damaged", _RESTORE),
    # A page that is damaged may say something else than it should.
    sqlite3.SQLITE_CONSTRAINT: (NotOurFile, "{} is damaged", _RESTORE),
    sqlite3.SQLITE_MISMATCH: (NotOurFile, "{} is damaged", _RESTORE),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_FULL: _FULL,
    # The index of the log cannot grow.
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    sqlite3.SQLITE_IOERR_SHMOPEN: _LIMITED,
    sqlite3.SQLITE_IOERR_WRITE: _LIMITED,
    sqlite3.SQLITE_IOERR_FSYNC: _LIMITED,
    sqlite3.SQLITE_IOERR_TRUNCATE: _LIMITED,
    sqlite3.SQLITE_IOERR: (BackendUnavailable, "cannot read or write {}", ""),
    sqlite3.SQLITE_NOMEM: (BackendUnavailable, "no memory is left to use {}", ""),
    sqlite3.SQLITE_READONLY: (BackendRefused, "may not write to {}", _WRITABLE),
    sqlite3.SQLITE_PERM: (BackendRefused, "may not use {}", _WRITABLE),
    sqlite3.SQLITE_CANTOPEN: (BackendRefused, "cannot open {}", _WRITABLE),
}
"""By result code (https://sqlite.org/rescode.html), extended or primary."""


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what SQLite or the file system has against ``path`` as one of our errors."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, OSError) as error:
        raise translation(path, error) from error


def translation(path: Path, error: Exception) -> RecsysError:
    """Return our error for one of SQLite's or of the file system's."""
    kind, what, hint = _meaning(error)
    said = (isinstance(error, OSError) and error.strerror) or error
    return kind(f"{what.format(path)}: {said}", hint=hint)


def _meaning(error: Exception) -> _Meaning:
    if isinstance(error, OSError):
        return _FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else _UNUSABLE
    # What the Python module raises itself has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    unknown = (BackendRefused, "cannot use {}", "")
    # The low byte is the primary result code.
    return _MEANINGS.get(code) or _MEANINGS.get(code & 0xFF, unknown)
