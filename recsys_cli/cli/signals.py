"""Ending a command wherever it is, on Ctrl-C or SIGTERM, without a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


@contextmanager
def exiting_on_signals() -> Iterator[None]:
    """Raise SystemExit in the block on the first SIGINT or SIGTERM, with 130 or 143.

    The block may be torn anywhere, so it must be safe against kill -9. A second signal is one.
    """
    has_received = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal has_received
        if has_received:
            os._exit(128 + number)
        has_received = True
        sys.exit(128 + number)

    previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
