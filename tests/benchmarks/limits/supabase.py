"""pgmq and pgvector through psycopg and nothing else."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence

import psycopg

from recsys_cli.ports import Matrix, Vector

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

    weakref.finalize(publish, session.close)
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

    weakref.finalize(drain, session.close)
    return drain


def writer(
    address: str, ids: Sequence[str], vectors: Matrix, metadata: Sequence[Mapping[str, object]]
) -> Callable[[], None]:
    """Return what upserts all rows into a fresh table with its index, a batch in a statement."""
    session = psycopg.connect(address, autocommit=True, prepare_threshold=None)
    session.execute("DROP TABLE IF EXISTS bare_embedding")
    session.execute(
        f"CREATE TABLE bare_embedding (id text PRIMARY KEY, vector vector({vectors.shape[1]})"
        " NOT NULL, category text, price float8)".encode()
    )
    session.execute(
        "CREATE INDEX ON bare_embedding USING hnsw (vector vector_cosine_ops)"
        " WITH (m = 16, ef_construction = 200)"
    )
    columns: list[list[object]] = [
        list(ids),
        [_text(vector) for vector in vectors],
        [fields["category"] for fields in metadata],
        [fields["price"] for fields in metadata],
    ]

    def write() -> None:
        for at in range(0, len(ids), _BATCH):
            session.execute(
                "INSERT INTO bare_embedding SELECT id, vector::vector, category, price"
                " FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[])"
                " AS w(id, vector, category, price) ON CONFLICT (id) DO UPDATE SET"
                " vector = excluded.vector, category = excluded.category, price = excluded.price",
                [column[at : at + _BATCH] for column in columns],
            )

    weakref.finalize(write, session.close)
    return write


def asker(address: str) -> Callable[[Vector], list[str]]:
    """Return what finds the ten nearest."""
    session = psycopg.connect(address, autocommit=True, prepare_threshold=None)
    session.execute("SET hnsw.ef_search = 200")

    def ask(vector: Vector) -> list[str]:
        rows = session.execute(
            "SELECT id FROM bare_embedding ORDER BY vector <=> %s::vector LIMIT 10",
            [_text(vector)],
        ).fetchall()
        return [product_id for (product_id,) in rows]

    weakref.finalize(ask, session.close)
    return ask


def _text(vector: Vector) -> str:
    return str(vector.tolist())
