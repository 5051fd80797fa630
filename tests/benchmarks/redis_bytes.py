"""What a product takes of Redis's memory, after import and consume, on a fresh server.

All keys of ours (catalog, model, stream, embeddings) and the index; and the same without the
catalog's states. The model is one of a megabyte or so, however many products there are. Limit:
nothing but a hash with vector, category, name, price and time, in the same HNSW index.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from recsys_cli.domain import utc_now
from tests.benchmarks.bare import create_index, hashes, load
from tests.benchmarks.comparison import BYTES, Row, at_most
from tests.benchmarks.workbench import BATCH_SIZE, Stock, Workbench
from tests.servers import running_redis

STATES = "product:state:*"


def measure(bench: Workbench, size: int) -> list[Row]:
    stock = bench.stock(size)
    (limit,) = _on_a_fresh_server(bench, stock, _bare)
    all_keys, without_states = _on_a_fresh_server(bench, stock, _ours)
    return [
        Row(
            stage=f"Redis bytes per product, {what}",
            size=size,
            unit=BYTES,
            ours=ours,
            limit=limit,
            goals=(at_most(1.15),),
            notes="after import and consume; a bare hash and its HNSW entry",
        )
        for what, ours in (("all keys", all_keys), ("without the catalog", without_states))
    ]


def _on_a_fresh_server(
    bench: Workbench, stock: Stock, used: Callable[[Workbench, Stock], Iterator[int]]
) -> list[float]:
    """Return what ``used`` finds there, per product."""
    with running_redis() as server:
        fresh = dataclasses.replace(bench, server=server)
        return [found / stock.size for found in used(fresh, stock)]


def _used(bench: Workbench) -> int:
    return int(bench.client.info("memory")["used_memory"])


def _ours(bench: Workbench, stock: Stock) -> Iterator[int]:
    before = _used(bench)
    bench.filled_redis(stock)
    yield _used(bench) - before
    keys = list(bench.client.scan_iter(STATES, count=10_000))
    if len(keys) != stock.size:
        raise AssertionError(f"{len(keys)} states in the catalog, not {stock.size}")
    for at in range(0, len(keys), 1000):
        bench.client.delete(*keys[at : at + 1000])
    yield _used(bench) - before


def _bare(bench: Workbench, stock: Stock) -> Iterator[int]:
    before = _used(bench)
    create_index(bench)
    named = {f"product:embedding:{product.id}": product.name for product in stock.products}
    entries = [
        (key, {**fields, "name": named[key], "updated_at": utc_now()})
        for key, fields in hashes(stock)
    ]
    load(bench, entries, BATCH_SIZE)
    yield _used(bench) - before
