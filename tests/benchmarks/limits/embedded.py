"""The standard sqlite3 in WAL mode, a transaction a batch, and numpy's exact scan in memory.

``address``: the path of a file for these tables alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recsys_cli.ports import Matrix, Vector

BATCH = 200
EVENTS_A_TRANSACTION = 1000


def publisher(address: str, payloads: Sequence[str]) -> Callable[[], None]:
    connection = _open(address)
    connection.execute("DROP TABLE IF EXISTS event")
    connection.execute("CREATE TABLE event (number INTEGER PRIMARY KEY, payload TEXT NOT NULL)")

    def publish() -> None:
        for at in range(0, len(payloads), EVENTS_A_TRANSACTION):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO event (payload) VALUES (?)",
                ((payload,) for payload in payloads[at : at + EVENTS_A_TRANSACTION]),
            )
            connection.execute("COMMIT")

    return publish


def drainer(address: str) -> Callable[[], int]:
    connection = _open(address)
    oldest = (
        "DELETE FROM event WHERE number IN (SELECT number FROM event ORDER BY number LIMIT ?)"
        " RETURNING payload"
    )

    def drain() -> int:
        done = 0
        while entries := connection.execute(oldest, (BATCH,)).fetchall():
            done += len(entries)
        return done

    return drain


def writer(
    address: str, ids: Sequence[str], vectors: Matrix, metadata: Sequence[Mapping[str, object]]
) -> Callable[[], None]:
    connection = _open(address)
    connection.execute("DROP TABLE IF EXISTS embedding")
    connection.execute(
        "CREATE TABLE embedding (id TEXT PRIMARY KEY, vector BLOB NOT NULL, category, price)"
    )
    rows = [
        (product_id, vector.tobytes(), fields["category"], fields["price"])
        for product_id, vector, fields in zip(ids, vectors, metadata, strict=True)
    ]

    def write() -> None:
        for at in range(0, len(rows), BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?, ?)", rows[at : at + BATCH]
            )
            connection.execute("COMMIT")

    return write


def asker(address: str) -> Callable[[Vector], list[str]]:
    found = _open(address).execute("SELECT id, vector FROM embedding").fetchall()
    ids = [product_id for product_id, _ in found]
    matrix = np.stack([np.frombuffer(vector, np.float32) for _, vector in found])

    def ask(vector: Vector) -> list[str]:
        scores = matrix @ vector
        nearest = np.argpartition(scores, -10)[-10:]
        return [ids[row] for row in nearest[np.argsort(-scores[nearest])]]

    return ask


def _open(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
