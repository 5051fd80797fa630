"""Waiting for a backend that is away: longer each time, with jitter, and never deaf to a stop."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Event as Flag

from recsys_cli.errors import BackendUnavailable, GroupMissing

SHORTEST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0


def backoff_s(attempt: int, shortest_s: float, longest_s: float) -> float:
    """Return how long to wait after the ``attempt``-th failure, from 1 on: half of it is chance.

    Exponential backoff with "equal jitter" (Brooker 2015, AWS Architecture Blog).
    """
    # The exponent is bounded because a float is.
    longest = min(longest_s, shortest_s * 2.0 ** min(attempt - 1, 60))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - chance, not a secret


class Outage:
    """One stretch of failures. ``patience_s``: when to give up, None for never."""

    def __init__(
        self, stop: Flag, notify: Callable[[str], None], *, patience_s: float | None = None
    ) -> None:
        self._stop = stop
        self._notify = notify
        self._patience_s = patience_s
        self._began_s: float | None = None
        self._failures = 0

    @property
    def is_on(self) -> bool:
        return self._failures > 0

    def wait(self, error: BackendUnavailable | GroupMissing) -> None:
        """Wait for the next try. Raises the error again when patience is over."""
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s = now_s
        if self._patience_s is not None and now_s - self._began_s > self._patience_s:
            raise error
        self._failures += 1
        delay_s = backoff_s(self._failures, SHORTEST_WAIT_S, LONGEST_WAIT_S)
        self._notify(f"{error}; trying again in {delay_s:.1f} s")
        self._stop.wait(delay_s)

    def end(self) -> None:
        """Say that the backend is back, if it was away."""
        if self._began_s is not None:
            away_s = time.monotonic() - self._began_s
            self._notify(f"the backend answers again, after {away_s:.0f} s")
        self._began_s, self._failures = None, 0
