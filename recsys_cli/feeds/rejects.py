"""Rejected rows, written so that they can be mended in an editor and imported again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from recsys_cli.domain import RejectedRow
from recsys_cli.errors import FeedError
from recsys_cli.feeds.records import REJECT


class RejectsFile:
    """JSON lines: a row by its own column names, with the reason under ``reject``.

    What could not even be parsed stands as it was, on a line of its own. The file is made when the
    first row is written.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._file: IO[str] | None = None

    def write(self, row: RejectedRow) -> None:
        """Append a row."""
        if isinstance(row.raw, str):
            line = " ".join(row.raw.split("\n"))
        else:
            why = {"file": row.file, "line": row.line, "reason": row.reason}
            line = msgspec.json.encode({**row.raw, REJECT: why}, enc_hook=str).decode()
        with self._complaining():
            if self._file is None:
                self._file = self._path.open("w", encoding="utf-8")
            self._file.write(line + "\n")

    def __enter__(self) -> RejectsFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with self._complaining():
                self._file.close()

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FeedError(
                f"cannot write the rejects to {self._path}: {error.strerror}"
            ) from error
