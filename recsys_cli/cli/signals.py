"""What Ctrl-C and SIGTERM do to a command: end it where it is, or after what is in hand."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Event
    from types import FrameType


class Whole:
    """Entered, again and again, it keeps what is in it whole: a signal is heeded at its end."""

    def __init__(self) -> None:
        self._is_entered = False
        self._exit_code: int | None = None

    def __enter__(self) -> None:
        self._is_entered = True

    def __exit__(self, *_: object) -> None:
        self._is_entered = False
        exit_code, self._exit_code = self._exit_code, None
        if exit_code is not None:
            sys.exit(exit_code)

    def end(self, number: int) -> None:
        """Raise SystemExit for this signal, now or at the end of what is to be kept whole."""
        if not self._is_entered:
            sys.exit(128 + number)
        self._exit_code = 128 + number


@contextmanager
def exiting_on_signals() -> Iterator[Whole]:
    """Raise SystemExit in the block on the first SIGINT or SIGTERM, with 130 or 143.

    The block may be torn anywhere but where it enters what it gets, so it must be safe against
    kill -9. A second signal is one.
    """
    whole = Whole()
    with _on_first(whole.end):
        yield whole


@contextmanager
def stopping_on_signals(stop: Event) -> Iterator[list[int]]:
    """Set ``stop`` on the first SIGINT or SIGTERM, end the process on the second.

    The list has the number of the first once it has come.
    """
    received: list[int] = []

    def finish(number: int) -> None:
        received.append(number)
        stop.set()
        os.write(2, b"\nfinishing the batch in hand; once more to stop at once\n")

    with _on_first(finish):
        yield received


@contextmanager
def _on_first(act: Callable[[int], None]) -> Iterator[None]:
    """Call ``act`` with the first signal in the block; the second ends the process there."""
    has_received = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal has_received
        if has_received:
            os._exit(128 + number)
        has_received = True
        act(number)

    previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
