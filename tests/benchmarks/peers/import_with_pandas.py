"""The import that a user would write: ``import_with_pandas.py FEED REDIS_URL``."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import redis


def main(feed: str, url: str) -> None:
    client = redis.from_url(url)
    frame = pd.read_csv(feed, dtype={"id": str}).fillna({"name": "", "description": ""})
    frame = frame.astype(object).where(frame.notna(), None)
    pipeline = client.pipeline(transaction=False)
    for row in frame.to_dict("records"):
        event: dict[Any, Any] = {
            "event_type": "create",
            "product_id": row["id"],
            "timestamp": datetime.now(UTC).isoformat(),
            "data": json.dumps(row),
        }
        pipeline.xadd("product:updates", event)
        if len(pipeline) == 1000:
            pipeline.execute()
    pipeline.execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
