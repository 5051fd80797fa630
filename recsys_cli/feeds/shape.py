"""Records of one shape, all with the same columns, become rows: a block of them at once.

What each column is has been decided once, and a block is read column by column, so that a row costs
little more than its cells. What is wrong with a row is noted under its place in the block; only
such a row is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar, cast

from recsys_cli.cleaning import MAY_BE_TOO_LONG, check_size, has_text
from recsys_cli.domain import FeedRow, Fields, FieldValue, RejectedRow
from recsys_cli.errors import InvalidProduct
from recsys_cli.feeds import cells
from recsys_cli.feeds.cells import CellReader, Wrong
from recsys_cli.feeds.columns import Plan
from recsys_cli.feeds.folding import Row, Textless
from recsys_cli.feeds.records import EXTRA_CELLS

_SHAPES_KEPT = 64
"""JSON objects may differ in their keys; so many shapes are remembered."""

Kind = TypeVar("Kind", bound=Hashable)

_READERS: dict[str, CellReader] = {
    "name": cells.read_lines,
    "category": cells.read_categories,
    "price": cells.read_prices,
}


class Shape:
    """``keys``: the feed's own names of the columns; a row may have more cells than these."""

    def __init__(self, file: str, keys: Sequence[str], plan: Plan) -> None:
        self._file = file
        self._keys = keys
        self._columns: dict[str, int | None] = {
            name: at for at, name in enumerate(plan.names) if name is not None
        }
        self._id = self._columns.pop("id", None)
        self._short: int | None = None
        if plan.short_text:
            self._short = self._columns.get(plan.short_text)
            self._columns.setdefault("description", self._short)
        self._names_size = sum(map(len, self._columns))

    def read(self, lines: Sequence[int], records: Sequence[Sequence[object]]) -> list[Row]:
        """Return what the records are, each at its place. They have equally many cells."""
        wrong: Wrong = {}
        if len(records[0]) > len(self._keys):
            self._find_extra_cells(records, wrong)
        ids, values = self._read_columns(records, wrong)
        by_row = zip(*values.values(), strict=True) if values else [()] * len(records)
        fields: list[Fields] = [dict(zip(values, row, strict=True)) for row in by_row]
        if self._may_be_too_long(values):
            _check_sizes(fields, wrong)
        rows: list[Row] = [
            FeedRow(file=self._file, line=line, product_id=product_id, fields=row)
            for line, product_id, row in zip(lines, ids, fields, strict=True)
        ]
        if not all(values.get("name", (None,))):
            self._find_textless(rows, records)
        for place, reason in wrong.items():
            rows[place] = self._rejected(lines[place], reason, ids[place], records[place])
        return rows

    def _read_columns(
        self, records: Sequence[Sequence[object]], wrong: Wrong
    ) -> tuple[list[str], dict[str, Sequence[FieldValue]]]:
        columns: list[Sequence[object]] = list(zip(*records, strict=False))
        absent = (None,) * len(records)

        def column(at: int | None) -> Sequence[object]:
            return absent if at is None else columns[at]

        ids = cells.read_ids(column(self._id), wrong)
        values: dict[str, Sequence[FieldValue]] = {}
        for name, at in self._columns.items():
            found = column(at)
            if name == "description" and self._short is not None:
                shorter = column(self._short)
                found = [text or short for text, short in zip(found, shorter, strict=True)]
            values[name] = _READERS.get(name, cells.read_texts)(found, wrong)
        return ids, values

    def _find_extra_cells(self, records: Sequence[Sequence[object]], wrong: Wrong) -> None:
        width = len(self._keys)
        for place, record in enumerate(records):
            if any(record[width:]):
                wrong[place] = f"{len(record)} cells where the header has {width}"

    def _find_textless(self, rows: list[Row], records: Sequence[Sequence[object]]) -> None:
        for place, row in enumerate(rows):
            if isinstance(row, FeedRow) and not has_text(row.fields):
                rows[place] = Textless(row, self._keys, records[place])

    def _may_be_too_long(self, values: dict[str, Sequence[FieldValue]]) -> bool:
        """Whether the longest cells of all columns together would be more than a product."""
        size = self._names_size
        for name, column in values.items():
            if name != "price":
                size += max(map(len, cast("Iterable[str]", filter(None, column))), default=0)
        return size > MAY_BE_TOO_LONG

    def _rejected(
        self, line: int, reason: str, product_id: str, record: Sequence[object]
    ) -> RejectedRow:
        raw = dict(zip(self._keys, record, strict=False))
        extra = record[len(self._keys) :]
        if any(extra):
            raw[EXTRA_CELLS] = extra
            product_id = ""
        return RejectedRow(
            file=self._file, line=line, reason=reason, product_id=product_id or None, raw=raw
        )


class Shapes(Generic[Kind]):
    """The shapes of one feed, by whatever tells them apart; ``make`` is called for a new one."""

    def __init__(self, make: Callable[[Kind], Shape]) -> None:
        self._make = make
        self._kept: dict[Kind, Shape] = {}

    def read(
        self, records: Sequence[tuple[int, Sequence[object]]], kinds: Sequence[Kind]
    ) -> list[Row]:
        """Return what the records become, in their order, whatever the kind of each."""
        places: dict[Kind, list[int]] = {}
        if len(set(kinds)) == 1:
            return self._of(kinds[0]).read(*zip(*records, strict=True))
        for place, kind in enumerate(kinds):
            places.setdefault(kind, []).append(place)
        rows: dict[int, Row] = {}
        for kind, among in places.items():
            lines, cells_of = zip(*(records[place] for place in among), strict=True)
            rows.update(zip(among, self._of(kind).read(lines, cells_of), strict=True))
        return [rows[place] for place in range(len(records))]

    def _of(self, kind: Kind) -> Shape:
        shape = self._kept.get(kind)
        if shape is None:
            shape = self._make(kind)
            if len(self._kept) < _SHAPES_KEPT:
                self._kept[kind] = shape
        return shape


def _check_sizes(fields: list[Fields], wrong: Wrong) -> None:
    for place, row in enumerate(fields):
        try:
            check_size(row)
        except InvalidProduct as error:
            wrong.setdefault(place, str(error))
