"""Recall@10 of the default HNSW index against exact search: ``python -m tests.benchmarks.recall``.

The products are mixed from the real catalogues: see ``mixing.py``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from recsys_cli.connections.redis import RedisConnection
from recsys_cli.domain import IndexSpec, Position, ProductMetadata, StoredEmbedding, utc_now
from recsys_cli.embedding.tfidf import TfidfFactory
from recsys_cli.ports import Embedding
from recsys_cli.vectors.redis_hnsw import RedisHnsw
from tests.benchmarks.mixing import mixed
from tests.conftest import REAL_DATA
from tests.servers import running_redis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    for name in ("m", "ef_construction", "ef_runtime"):
        parser.add_argument(f"--{name}", type=int, default=getattr(IndexSpec(), name))
    arguments = parser.parse_args()
    if not Path(REAL_DATA).is_dir():
        sys.exit(f"the real catalogues are not there: {REAL_DATA}")
    products = list(mixed(arguments.products))
    model = TfidfFactory().fit(products)
    vectors = model.embed(products)
    with running_redis() as server:
        store = RedisHnsw(RedisConnection(server.url), index="product:vectors", dimension=384)
        spec = IndexSpec(
            m=arguments.m,
            ef_construction=arguments.ef_construction,
            ef_runtime=arguments.ef_runtime,
        )
        store.create_index(spec)
        source = StoredEmbedding(position=Position(1, 0), model_version="m", text_digest="")
        start = time.monotonic()
        for at in range(0, len(products), 500):
            store.write(
                [
                    Embedding(product.id, vector, ProductMetadata(), source, utc_now())
                    for product, vector in zip(
                        products[at : at + 500], vectors[at : at + 500], strict=True
                    )
                ]
            )
        written_s = time.monotonic() - start
        recalls, times = [], []
        for row in np.random.default_rng(2).choice(len(products), arguments.queries, replace=False):
            exact = vectors @ vectors[row]
            tenth = np.partition(exact, -10)[-10]
            start = time.monotonic()
            found = store.search(vectors[row], 10)
            times.append(time.monotonic() - start)
            # Any ten of equal scores are as good.
            recalls.append(sum(n.similarity_score >= tenth - 1e-5 for n in found) / 10)
        info = store.info()
        store.close()
    print(f"products {len(products)}, {spec}")
    print(f"recall@10 mean {np.mean(recalls):.4f}, worst {min(recalls):.1f}")
    print(
        f"query median {np.median(times) * 1000:.2f} ms; written {len(products) / written_s:.0f}/s"
    )
    print(f"bytes per product {info.bytes_per_product if info else None}")


if __name__ == "__main__":
    main()
