"""Backups as Parquet: a row for each product, the header in the file's metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_cli.backups import Backup, BackupHeader, SavedProduct, check_version
from recsys_cli.domain import Fields
from recsys_cli.errors import InvalidData
from recsys_cli.feeds.parquet_out import write_table

ROWS_AT_ONCE = 2000
_HEADER = b"recsys_backup"
_COLUMNS = ("product_id", "fields", "vector", "text_digest")


def write_parquet(backup: Backup, path: Path) -> int:
    """Write the rows; ``fields`` is JSON, ``vector`` little-endian float32. Return their number."""
    columns: dict[str, pa.DataType] = {
        "product_id": pa.string(),
        "fields": pa.string(),
        "vector": pa.binary(),
        "text_digest": pa.string(),
    }
    schema = pa.schema(columns, metadata={_HEADER: msgspec.json.encode(backup.header)})
    rows = (
        {
            "product_id": saved.product_id,
            "fields": msgspec.json.encode(saved.fields).decode(),
            "vector": saved.vector,
            "text_digest": saved.text_digest,
        }
        for saved in backup.products
    )
    return write_table(rows, schema, path)


def read_parquet(path: Path) -> Backup:
    """Read a backup. Raises InvalidData where it is none."""
    try:
        file = pq.ParquetFile(path)
        raw = (file.schema_arrow.metadata or {}).get(_HEADER)
        if raw is None or not set(_COLUMNS) <= set(file.schema_arrow.names):
            raise InvalidData(f"{path} is Parquet, but no backup of recsys")
        header = msgspec.json.decode(raw, type=BackupHeader)
        check_version(path, header)
        return Backup(header, _products(file, path))
    except (pa.ArrowException, OSError, msgspec.DecodeError) as error:
        raise InvalidData(f"{path} is no whole backup of recsys: {error}") from error


def _products(file: pq.ParquetFile, path: Path) -> Iterator[SavedProduct]:
    try:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(_COLUMNS)):
            for row in batch.to_pylist():
                yield SavedProduct(
                    product_id=row["product_id"],
                    fields=msgspec.json.decode(row["fields"] or "", type=Fields),
                    vector=row["vector"],
                    text_digest=row["text_digest"] or "",
                )
    except (pa.ArrowException, OSError, msgspec.DecodeError) as error:
        raise InvalidData(f"{path} is a damaged backup: {error}") from error
