"""redis-py: XADD, XREADGROUP and XACKDEL, HSET, FT.SEARCH, in pipelines of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

from recsys_cli.ports import Matrix, Vector

BATCH = 200
EVENTS_A_PIPELINE = 1000
STREAM, GROUP, INDEX, PREFIX = "bare:events", "bare", "bare:vectors", "bare:embedding:"


def publisher(address: str, payloads: Sequence[str]) -> Callable[[], None]:
    client = _client(address)
    client.delete(STREAM)
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)

    def publish() -> None:
        with client.pipeline(transaction=False) as pipeline:
            for at in range(0, len(payloads), EVENTS_A_PIPELINE):
                for payload in payloads[at : at + EVENTS_A_PIPELINE]:
                    pipeline.execute_command("XADD", STREAM, "*", "event", payload)
                pipeline.execute()

    return publish


def drainer(address: str) -> Callable[[], int]:
    client = _client(address)

    def drain() -> int:
        done = 0
        while reply := client.xreadgroup(GROUP, "bare", {STREAM: ">"}, count=BATCH):
            ((_, entries),) = reply
            ids = [entry_id for entry_id, _ in entries]
            client.execute_command("XACKDEL", STREAM, GROUP, "ACKED", "IDS", len(ids), *ids)
            done += len(ids)
        return done

    return drain


def writer(
    address: str, ids: Sequence[str], vectors: Matrix, metadata: Sequence[Mapping[str, object]]
) -> Callable[[], None]:
    client = _client(address)
    _fresh_index(client, vectors.shape[1])
    hashes: list[tuple[str, dict[Any, Any]]] = [
        (
            PREFIX + product_id,
            {
                "vector": vector.tobytes(),
                **{name: value for name, value in fields.items() if value is not None},
            },
        )
        for product_id, vector, fields in zip(ids, vectors, metadata, strict=True)
    ]

    def write() -> None:
        with client.pipeline(transaction=False) as pipeline:
            for at in range(0, len(hashes), BATCH):
                for key, fields in hashes[at : at + BATCH]:
                    pipeline.hset(key, mapping=fields)
                pipeline.execute()

    return write


def asker(address: str) -> Callable[[Vector], list[str]]:
    client = _client(address)

    def ask(vector: Vector) -> list[str]:
        reply = client.execute_command(
            *("FT.SEARCH", INDEX, "*=>[KNN 10 @vector $vector AS distance]"),
            *("PARAMS", 2, "vector", vector.tobytes(), "RETURN", 1, "distance"),
            *("SORTBY", "distance", "LIMIT", 0, 10, "DIALECT", 2),
        )
        return [key.decode().removeprefix(PREFIX) for key in reply[1::2]]

    return ask


def _client(address: str) -> Any:
    return redis.Redis.from_url(address, protocol=2, socket_timeout=600)


def _fresh_index(client: Any, dimension: int) -> None:
    if INDEX.encode() in client.execute_command("FT._LIST"):
        client.execute_command("FT.DROPINDEX", INDEX, "DD")
    client.execute_command(
        *("FT.CREATE", INDEX, "ON", "HASH", "PREFIX", 1, PREFIX, "SCHEMA"),
        *("vector", "VECTOR", "HNSW", 12, "TYPE", "FLOAT32", "DIM", dimension),
        *("DISTANCE_METRIC", "COSINE", "M", 16, "EF_CONSTRUCTION", 200, "EF_RUNTIME", 200),
        *("category", "TAG", "price", "NUMERIC"),
    )
