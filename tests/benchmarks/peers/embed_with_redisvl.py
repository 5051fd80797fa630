"""The consumer that a user would write: ``embed_with_redisvl.py FEED REDIS_URL``.

pandas reads, scikit-learn embeds all at once, RedisVL makes the index and loads it. The index is as
large and as careful as ours.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from redisvl.index import SearchIndex
from sklearn.feature_extraction.text import TfidfVectorizer

INDEX = "products-redisvl"


def schema(dimension: int) -> dict[str, object]:
    return {
        "index": {"name": INDEX, "prefix": INDEX, "key_separator": ":"},
        "fields": [
            {"name": "category", "type": "tag"},
            {"name": "price", "type": "numeric"},
            {
                "name": "vector",
                "type": "vector",
                "attrs": {
                    "algorithm": "hnsw",
                    "dims": dimension,
                    "distance_metric": "cosine",
                    "datatype": "float32",
                    "m": 16,
                    "ef_construction": 200,
                    "ef_runtime": 200,
                },
            },
        ],
    }


def main(feed: str, url: str) -> None:
    frame = pd.read_csv(feed, dtype={"id": str})
    frame = frame.fillna({"name": "", "description": "", "category": "", "price": 0})
    texts = frame["name"] + " " + frame["description"]
    matrix = TfidfVectorizer(max_features=384).fit_transform(texts).astype(np.float32)
    index = SearchIndex.from_dict(schema(matrix.shape[1]), redis_url=url)
    index.create(overwrite=True)
    index.load(
        (
            {
                "id": row["id"],
                "name": row["name"],
                "category": row["category"],
                "price": row["price"],
                "vector": vector.toarray().tobytes(),
            }
            for row, vector in zip(frame.to_dict("records"), matrix, strict=True)
        ),
        id_field="id",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
