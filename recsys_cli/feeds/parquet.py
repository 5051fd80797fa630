"""Parquet, a batch of rows at a time; the only module that loads pandas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from recsys_cli.errors import FeedError, MissingDependency
from recsys_cli.feeds.records import JsonValue

ROWS_AT_ONCE = 5000


def parquet_rows(file: IO[bytes], name: str) -> Iterator[JsonValue]:
    """Yield each row as an object; its "line" is its number, from 1. Raises FeedError."""
    try:
        import pandas as pd  # noqa: PLC0415 - optional
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependency(
            f"{name} is Parquet, and the packages that read it are not installed",
            hint="pip install 'recsys-cli[parquet]'",
        ) from error
    number = 0
    try:
        for batch in ParquetFile(file).iter_batches(batch_size=ROWS_AT_ONCE):
            # Arrow's own types keep a whole number whole where others of its column are missing.
            frame = batch.to_pandas(types_mapper=pd.ArrowDtype).astype(object)
            for row in frame.where(frame.notna(), None).to_dict("records"):
                number += 1
                yield JsonValue(number, {str(column): value for column, value in row.items()})
    except (pa.ArrowException, OSError) as error:
        raise FeedError(f"{name} is not readable Parquet: {error}") from error
