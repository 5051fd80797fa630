"""Holding the lock on the generations while a run lasts."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

from recsys_cli.domain import utc_now
from recsys_cli.errors import BackendUnavailable, LockHeld
from recsys_cli.ports import Generations

TTL_MS = 30_000
"""How long the lock of a run that was killed keeps others out."""


@contextlib.contextmanager
def held_lock(generations: Generations, ttl_ms: int = TTL_MS) -> Iterator[int]:
    """Hold the lock for the block, renewed in the background; yield its token.

    Raises LockHeld where another run has it. Should it be lost within the block, by an outage that
    lasts, every change under the token is refused: so nobody need ask whether it is still held.
    It is never had back: consumers may have stopped writing to what this run builds.
    """
    token = generations.lock(f"{socket.gethostname()}-{os.getpid()}, since {utc_now()}", ttl_ms)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(ttl_ms / 3000):
            try:
                generations.renew(token, ttl_ms)
            except LockHeld:
                return
            except BackendUnavailable:
                continue  # the run itself will meet it

    thread = threading.Thread(target=renew, name="recsys-lease", daemon=True)
    thread.start()
    try:
        yield token
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(BackendUnavailable):
            generations.unlock(token)
