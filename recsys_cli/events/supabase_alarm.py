"""Waiting for something on the stream: woken by Postgres where it can, else looking at times."""

from __future__ import annotations

import contextlib
import threading
import time

import psycopg

from recsys_cli.connections.postgres import PostgresConnection, Session
from recsys_cli.errors import BackendRefused, BackendUnavailable

_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.4
"""Also what is woken looks that often: nobody tells when a claim or a delay has run out."""


class Alarm:
    """LISTEN on the channel that the trigger of the stream's own queue notifies.

    Through a transaction pooler nobody can listen. One thread listens at a time, others look.
    """

    def __init__(
        self,
        connection: PostgresConnection,
        queue: str,
        *,
        longest_pause_s: float = _LONGEST_PAUSE_S,
    ) -> None:
        self._longest_pause_s = longest_pause_s
        self._connection = connection
        self._channel = f"recsys_{queue}"
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._can_listen = True
        self._pause_s = _PAUSE_S

    @property
    def is_listening(self) -> bool:
        return self._session is not None

    def wait(self, longest_s: float) -> None:
        """Return when something was sent, or after a moment; the caller then looks again."""
        if not self._lock.acquire(blocking=False):
            time.sleep(min(_PAUSE_S, longest_s))
            return
        try:
            if self._session is not None:
                self._listen(min(self._longest_pause_s, longest_s))
            elif not (self._can_listen and self._begin()):
                time.sleep(min(self._pause_s, longest_s))
                self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
        finally:
            self._lock.release()

    def quiet(self) -> None:
        """Something was found: forget what was heard of it, which else piles up unread."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._pause_s = _PAUSE_S
            if self._session is not None:
                self._listen(0)
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._end()
            self._can_listen = True

    def _begin(self) -> bool:
        """Listen from now on. What was sent before is found by looking once more, at once."""
        with contextlib.suppress(BackendUnavailable, BackendRefused, psycopg.Error):
            self._session = self._connection.listener(self._channel)
            self._can_listen = self._session is not None
        return self._session is not None

    def _listen(self, seconds: float) -> None:
        assert self._session is not None  # noqa: S101 - as both callers have seen
        try:
            for _ in self._session.notifies(timeout=seconds, stop_after=1 if seconds else None):
                pass
        except psycopg.Error:
            # The server went away; the next statement says so, and then all begins anew.
            self._end()

    def _end(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
