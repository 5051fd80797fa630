"""Parquet files that others read, written some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_cli.batches import batched

ROWS_AT_ONCE = 5000


def write_table(rows: Iterable[Mapping[str, object]], schema: pa.Schema, path: Path) -> int:
    """Write the rows as columns of the schema; return how many there were."""
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for some in batched(rows, ROWS_AT_ONCE):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
            count += len(some)
    return count


def write_neighbors(rows: Iterable[tuple[str, int, str, float]], path: Path) -> None:
    """Write a row for each neighbor."""
    types: dict[str, pa.DataType] = {
        "product_id": pa.string(),
        "rank": pa.int32(),
        "neighbor_id": pa.string(),
        "score": pa.float64(),
    }
    schema = pa.schema(types)
    write_table((dict(zip(types, row, strict=True)) for row in rows), schema, path)
