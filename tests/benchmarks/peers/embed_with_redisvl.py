"""The consumer that a user would write: ``embed_with_redisvl.py FEED REDIS_URL FEATURES``.

pandas reads, scikit-learn embeds all at once, RedisVL makes the index and loads it. The index is as
large and as careful as ours. FEATURES: ``words``, the 384 most frequent, which leaves half of the
products with five numbers or fewer; or ``subwords``, which makes vectors as dense as ours.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from redisvl.index import SearchIndex
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.pipeline import make_pipeline

DIMENSION = 384
FEATURES = {
    "words": TfidfVectorizer(max_features=DIMENSION),
    "subwords": make_pipeline(
        HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=DIMENSION),
        TfidfTransformer(),
    ),
}
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


def main(feed: str, url: str, features: str) -> None:
    frame = pd.read_csv(feed, dtype={"id": str})
    frame = frame.fillna({"name": "", "description": "", "category": "", "price": 0})
    texts = frame["name"] + " " + frame["description"]
    matrix = FEATURES[features].fit_transform(texts).astype(np.float32)
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
