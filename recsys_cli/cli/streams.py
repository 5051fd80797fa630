"""Where a command prints: what happens when that is closed or full, or when its reader has gone.

A reader that goes (``recsys similar - | head``) has had enough: the command ends at once, and with
0. A disk that is full is an error. What is said on stderr is not worth failing for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

from recsys_cli.errors import OutputFailed


def open_all() -> None:
    """Let the standard streams that are closed lead nowhere, and watch over those for output."""
    # In this order: each takes the lowest free number, before any file of ours can.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for good
    sys.stdout = cast(TextIO, _Watched(sys.stdout, _end))
    sys.stderr = cast(TextIO, _Watched(sys.stderr, lambda _: None))


def finish() -> None:
    """Write what is left. A reader that has gone changes nothing any more."""
    with suppress(_ReaderGone):
        sys.stdout.flush()


class _ReaderGone(SystemExit):
    pass


class _Watched:
    """A stream that calls ``fail`` with what goes wrong in it, once; then it leads nowhere."""

    def __init__(self, stream: TextIO, fail: Callable[[OSError], None]) -> None:
        self._stream = stream
        self._fail = fail

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        # What it holds is tried once more at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._fail(error)


def _end(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise _ReaderGone(0)
    raise OutputFailed(f"cannot write the output: {error.strerror}") from error
