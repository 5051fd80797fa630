"""Neighbor lists in files: JSON lines while they grow, then in the form that is wanted.

``FILE.part`` begins with a line that says of what it is; a run that finds one of the same goes on
with it. What a kill has torn off in the last line is dropped. FILE itself is whole, or not there.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from recsys_cli.batches import batched
from recsys_cli.errors import UsageError
from recsys_cli.generations import Generation
from recsys_cli.neighbor_lists import NeighborList
from recsys_cli.pipeline.neighbors import ExportOptions
from recsys_cli.pipeline.whole_file import replaceable, whole_file
from recsys_cli.seen import SeenIds

COLUMNS = ("product_id", "rank", "neighbor_id", "score")
NeighborRow: TypeAlias = tuple[str, int, str, float]
Converter: TypeAlias = Callable[[Iterable[NeighborList], Path], None]

_PAGE = 1000


class ExportHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a list depends on: lists of two headers do not go together."""

    recsys_neighbors: int = 1
    index: str
    generation: int
    model_version: str
    k: int
    exact: bool


def header_of(index: str, generation: Generation, options: ExportOptions) -> ExportHeader:
    """Return what the lists of such an export depend on."""
    return ExportHeader(
        index=index,
        generation=generation.number,
        model_version=generation.model_version,
        k=options.k,
        exact=options.exact,
    )


class NeighborFile:
    """A NeighborSink. Raises UsageError where the file cannot be written."""

    def __init__(self, path: Path, header: ExportHeader, convert: Converter) -> None:
        self._path, self._convert = path, convert
        self._seen, self._met = SeenIds(), SeenIds()
        try:
            file = replaceable(path)
            self._part = file.with_name(f"{file.name}.part")
            if not self._goes_on(header):
                self._part.write_bytes(msgspec.json.encode(header) + b"\n")
        except OSError as error:
            raise _cannot(path, error) from error

    def already(self, product_ids: Sequence[str]) -> list[bool]:
        self._met.add(product_ids)
        return self._seen.contains(product_ids)

    def write(self, lists: Sequence[NeighborList]) -> None:
        try:
            with self._part.open("ab") as part:
                part.write(b"".join(msgspec.json.encode(found) + b"\n" for found in lists))
        except OSError as error:
            raise _cannot(self._path, error) from error
        self._seen.add([found.product_id for found in lists])

    def finish(self) -> None:
        try:
            with whole_file(self._path) as unfinished:
                self._convert(self._lists(), unfinished)
            self._part.unlink()
        except OSError as error:
            raise _cannot(self._path, error) from error

    def _lists(self) -> Iterator[NeighborList]:
        """Yield what is written, but for products that were gone when this run came by."""
        with self._part.open("rb") as lines:
            next(lines)
            for some in batched(map(_decoded, lines), _PAGE):
                is_there = self._met.contains([found.product_id for found in some])
                yield from (found for found, there in zip(some, is_there, strict=True) if there)

    def _goes_on(self, header: ExportHeader) -> bool:
        """Take over what an interrupted run of the same has done."""
        if not self._part.is_file():
            return False
        with self._part.open("rb+") as part:
            if part.readline() != msgspec.json.encode(header) + b"\n":
                return False
            whole = part.tell()
            for lines in batched(part, _PAGE):
                sound = [line for line in lines if line.endswith(b"\n")]
                whole += sum(map(len, sound))
                self._seen.add([_decoded(line).product_id for line in sound])
            part.truncate(whole)
        return True


def as_json_lines(lists: Iterable[NeighborList], path: Path) -> None:
    """Write a line for each product."""
    with path.open("wb") as file:
        file.writelines(msgspec.json.encode(found) + b"\n" for found in lists)


def as_csv(lists: Iterable[NeighborList], path: Path) -> None:
    """Write a line for each neighbor, under the names of COLUMNS."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows_of(lists))


def rows_of(lists: Iterable[NeighborList]) -> Iterator[NeighborRow]:
    """Yield a row for each neighbor; the closest has rank 1."""
    for found in lists:
        for rank, close in enumerate(found.neighbors, start=1):
            yield found.product_id, rank, close.product_id, close.score


def _decoded(line: bytes) -> NeighborList:
    return msgspec.json.decode(line, type=NeighborList)


def _cannot(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror}")
