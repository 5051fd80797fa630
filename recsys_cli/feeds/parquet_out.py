"""Parquet files that others read; needs the ``parquet`` extra."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_cli.batches import batched

ROWS_AT_ONCE = 50_000


def write_table(rows: Iterable[tuple[object, ...]], schema: pa.Schema, path: Path) -> None:
    """Write the rows, some at a time, as columns of the schema."""
    with pq.ParquetWriter(path, schema) as writer:
        for some in batched(rows, ROWS_AT_ONCE):
            columns: Sequence[Sequence[object]] = list(zip(*some, strict=True))
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def write_neighbors(rows: Iterable[tuple[str, int, str, float]], path: Path) -> None:
    """Write a row for each neighbor."""
    columns: list[pa.Field[pa.DataType]] = [
        pa.field("product_id", pa.string()),
        pa.field("rank", pa.int32()),
        pa.field("neighbor_id", pa.string()),
        pa.field("score", pa.float64()),
    ]
    write_table(rows, pa.schema(columns), path)
