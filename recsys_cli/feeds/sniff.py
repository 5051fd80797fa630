"""What a feed is, told by its first bytes."""

from __future__ import annotations

import csv
from enum import StrEnum

import msgspec

from recsys_cli.errors import FeedError
from recsys_cli.feeds.columns import recognise

DELIMITERS = ",;\t|"
_ROWS = 30
_PARQUET = b"PAR1"


class FeedFormat(StrEnum):
    CSV = "csv"
    TSV = "tsv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


def detect_format(head: bytes, text: str, name: str) -> FeedFormat:
    """Return the format by content. Raises FeedError for what is no text at all."""
    if head.startswith(_PARQUET):
        return FeedFormat.PARQUET
    if is_binary(text):
        raise FeedError(
            f"{name} is not a product feed: it is neither text nor Parquet",
            hint="CSV, TSV, JSON, JSON lines or Parquet, also gzipped",
        )
    start = text.lstrip()
    if start.startswith("["):
        return FeedFormat.JSON
    if start.startswith("{"):
        return FeedFormat.JSONL if _is_product(start.split("\n", 1)[0]) else FeedFormat.JSON
    return FeedFormat.CSV


def is_binary(text: str) -> bool:
    """Whether the text has so many control characters that it is none."""
    sample = text[:4096]
    odd = sum(char < " " and char not in "\t\r\n\f\x1b" for char in sample)
    return odd > 0.05 * len(sample)


def detect_delimiter(text: str) -> str:
    """Return the delimiter that cuts the first rows into the same number of cells, above one.

    A header with more cells wins among equals: ``Categories (x,y,z)`` has commas within cells.
    """
    lines = text.splitlines(keepends=True)
    if len(lines) > _ROWS:
        lines = lines[:_ROWS]

    def fit(delimiter: str) -> tuple[float, int]:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        if not rows or len(rows[0]) < 2:
            return 0.0, 0
        agreeing = sum(len(row) == len(rows[0]) for row in rows)
        return agreeing / len(rows), len(rows[0])

    return max(DELIMITERS, key=fit)


def _is_product(line: str) -> bool:
    """Whether the line is a whole object, and not one that wraps an array of products."""
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return isinstance(value, dict) and ("id" in recognise(list(value), {}) or not _wraps(value))


def _wraps(value: dict[str, object]) -> bool:
    return any(isinstance(v, list) and v and isinstance(v[0], dict) for v in value.values())
