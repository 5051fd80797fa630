"""Backups as JSON lines: a header, a line for each product, and a last line with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec

from recsys_cli.backups import Backup, BackupHeader, SavedProduct, check_version
from recsys_cli.errors import InvalidData
from recsys_cli.pipeline.whole_file import whole_file

Writer: TypeAlias = Callable[[Backup, Path], int]
Reader: TypeAlias = Callable[[Path], Backup]


class _Footer(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="end"):
    products: int


_decoder = msgspec.json.Decoder(BackupHeader | SavedProduct | _Footer)


def save(backup: Backup, path: Path, write: Writer) -> int:
    """Write the backup, whole or not at all; return how many products it has."""
    try:
        with whole_file(path) as unfinished:
            return write(backup, unfinished)
    except OSError as error:
        raise InvalidData(f"cannot write {path}: {error.strerror}") from error


def write_json_lines(backup: Backup, path: Path) -> int:
    """Write the lines; return how many products there are."""
    products = 0
    with path.open("wb") as file:
        file.write(msgspec.json.encode(backup.header) + b"\n")
        for saved in backup.products:
            file.write(msgspec.json.encode(saved) + b"\n")
            products += 1
        file.write(msgspec.json.encode(_Footer(products=products)) + b"\n")
    return products


def read_json_lines(path: Path) -> Backup:
    """Read a backup, once all of it was seen to be sound. Raises InvalidData, naming the line."""
    header = None
    products, ended = 0, None
    for number, record in _records(path):
        if (number == 1) is not isinstance(record, BackupHeader) or ended is not None:
            raise _no_backup(path, f"line {number} is a {type(record).__name__}")
        match record:
            case BackupHeader():
                header = record
            case SavedProduct():
                products += 1
            case _Footer():
                ended = record.products
    if header is None:
        raise _no_backup(path, "it is empty")
    check_version(path, header)
    if ended != products:
        raise _no_backup(path, f"it is cut off after {products:,} products")
    return Backup(header, (r for _, r in _records(path) if isinstance(r, SavedProduct)))


def _records(path: Path) -> Iterator[tuple[int, BackupHeader | SavedProduct | _Footer]]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield number, _decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise _no_backup(path, f"line {number}: {error}") from error
    except OSError as error:
        raise InvalidData(f"cannot read {path}: {error.strerror}") from error


def _no_backup(path: Path, why: str) -> InvalidData:
    return InvalidData(f"{path} is no whole backup of recsys: {why}")
