"""Keeps the claim on a batch that takes long: without it others would take it over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from recsys_cli.deliveries import Delivery
from recsys_cli.errors import RecsysError
from recsys_cli.ports import EventProcessor

RENEWALS_PER_CLAIM = 3
MOST_CLAIMS = 20
"""For so many claim times: a consumer that hangs must lose its batch in the end."""


class ClaimKeeper:
    """Renews, in a thread of its own, the claims on what is in hand."""

    def __init__(self, events: EventProcessor, claim_idle_ms: int) -> None:
        self._events = events
        self._every_s = claim_idle_ms / 1000 / RENEWALS_PER_CLAIM
        self._longest_s = claim_idle_ms / 1000 * MOST_CLAIMS
        self._held: Sequence[Delivery] = ()
        self._since_s = 0.0
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[ClaimKeeper]:
        thread = threading.Thread(target=self._run, name="recsys-claims", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def hold(self, deliveries: Sequence[Delivery]) -> None:
        """Keep these from now on, and nothing else."""
        self._since_s = time.monotonic()
        self._held = deliveries

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            held, held_s = self._held, time.monotonic() - self._since_s
            if held and self._every_s <= held_s <= self._longest_s:
                try:
                    self._events.renew(held)
                except RecsysError:
                    # The consumer meets the same error, and is the one to tell it.
                    continue
