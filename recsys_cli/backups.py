"""What a backup consists of: products with their vectors, and the model that made these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from recsys_cli.domain import Fields, IndexSpec
from recsys_cli.errors import InvalidData

FORMAT_VERSION = 1


class BackupHeader(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="header"):
    """``model_version`` is empty where there was no model. ``artifact``: that model."""

    recsys_backup: int = FORMAT_VERSION
    created_at: str
    model_version: str
    spec: IndexSpec
    artifact: bytes | None


class SavedProduct(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="product"):
    """``vector``: little-endian float32, or None; its model is the header's.

    ``text_digest``: of the text that the vector was made of.

    No position: those of one stream mean nothing on another.
    """

    product_id: str
    fields: Fields
    vector: bytes | None = None
    text_digest: str = ""


class Backup(NamedTuple):
    """``products`` is read as it is needed."""

    header: BackupHeader
    products: Iterator[SavedProduct]


def check_version(path: Path, header: BackupHeader) -> None:
    """Raise InvalidData for a format of the future."""
    if header.recsys_backup > FORMAT_VERSION:
        raise InvalidData(
            f"{path} is a backup of version {header.recsys_backup}; this recsys reads"
            f" {FORMAT_VERSION}",
            hint="pip install --upgrade recsys-cli",
        )
