"""pgmq through psycopg and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg

QUEUE = "bare"
_MESSAGES_AT_ONCE = 1_000
_BATCH = 200


def publisher(address: str, payloads: Sequence[str]) -> Callable[[], None]:
    """Return what puts all payloads on a fresh queue, a thousand in a statement."""
    session = psycopg.connect(address, autocommit=True, prepare_threshold=None)
    if session.execute("SELECT to_regclass('pgmq.q_bare') IS NOT NULL").fetchone() == (True,):
        session.execute("SELECT pgmq.drop_queue(%s)", [QUEUE])
    session.execute("SELECT pgmq.create(%s)", [QUEUE])

    def publish() -> None:
        for at in range(0, len(payloads), _MESSAGES_AT_ONCE):
            some = list(payloads[at : at + _MESSAGES_AT_ONCE])
            session.execute("SELECT pgmq.send_batch(%s::text, %s::jsonb[])", [QUEUE, some])

    return publish


def drainer(address: str) -> Callable[[], int]:
    """Return what reads and deletes all of them, and says how many they were."""
    session = psycopg.connect(address, autocommit=True, prepare_threshold=None)

    def drain() -> int:
        count = 0
        while True:
            rows = session.execute(
                "SELECT msg_id, message FROM pgmq.read(%s::text, 60, %s)", [QUEUE, _BATCH]
            ).fetchall()
            if not rows:
                return count
            numbers = [number for number, _ in rows]
            session.execute("SELECT pgmq.delete(%s::text, %s::bigint[])", [QUEUE, numbers])
            count += len(rows)

    return drain
