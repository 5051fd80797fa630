"""CSV and its relatives, through the csv module, with what that leaves to its caller.

Line numbers are those an editor shows, at the line where a row begins. A quote that is never
closed must not swallow the rows behind it, so the lines of the row in hand are kept: when the row
turns out broken (at the end of the feed, by its length, or because a quote closes in the middle of
a later row's cell) its first line alone is unreadable, and reading resumes at the line after it.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator

from recsys_cli.cleaning import MAX_PRODUCT_BYTES
from recsys_cli.feeds.lines import SHOWN_CHARACTERS, OverlongLine
from recsys_cli.feeds.records import TOO_LONG, TableRow, Unreadable

# Rows are bounded here, by their length; the csv module's own limit would end the whole file.
csv.field_size_limit(sys.maxsize)

NEVER_CLOSED = "a quote is opened in this row and never properly closed"

_END = "\0end of the feed\0"
"""A last line of our own: if it lands inside a cell, that cell's quote was never closed."""


class _RowTooLong(Exception):
    pass


class _Lines:
    """Hands blocks of lines to the csv module and keeps the lines of the row in hand."""

    def __init__(self, blocks: Iterable[list[str]]) -> None:
        self._blocks = iter(blocks)
        self._again: list[list[str]] = []
        self._kept: list[str] = []
        self._first = 1
        """The number of the first kept line."""
        self.row = 1
        """The number of the line where the row in hand begins."""
        self.has_ended = False

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        del self._kept[: self.row - self._first]
        self._first = self.row
        if sum(map(len, self._kept)) > MAX_PRODUCT_BYTES:
            raise _RowTooLong
        block = self._again.pop() if self._again else next(self._blocks, None)
        if block is None:
            if self.has_ended:
                raise StopIteration
            self.has_ended = True
            return [_END]
        if isinstance(block[0], OverlongLine):
            if self._kept:
                self._again.append(block)
            else:
                self._kept = block
            raise _RowTooLong
        self._kept += block
        return block

    def kept(self, last: int | None = None) -> list[str]:
        """Return the lines of the row in hand, up to line number ``last``."""
        start = self.row - self._first
        return self._kept[start : None if last is None else last - self._first + 1]

    def resume_at(self, line: int) -> None:
        """Go back (or on) to a line; the caller begins a new csv reader."""
        lines = self._kept[line - self._first :]
        if lines:
            self._again.append(lines)
        self._kept = []
        self._first = self.row = line
        self.has_ended = False


class Table:
    """The rows of delimited text. ``header`` is empty where the feed is."""

    def __init__(self, blocks: Iterable[list[str]], delimiter: str) -> None:
        self._lines = _Lines(blocks)
        self._delimiter = delimiter
        self.header: list[str] = []
        self._rows = self._read()
        for record in self._rows:
            if isinstance(record, TableRow) and not _is_separator_line(record.cells):
                self.header = record.cells
                break

    def __iter__(self) -> Iterator[TableRow | Unreadable]:
        return self._rows

    def _read(self) -> Iterator[TableRow | Unreadable]:
        lines = self._lines
        while not lines.has_ended:
            reader = csv.reader(itertools.chain.from_iterable(lines), delimiter=self._delimiter)
            before = lines.row - 1
            try:
                for cells in reader:
                    if lines.has_ended and cells and cells[-1].endswith(_END):
                        if cells != [_END]:
                            yield self._give_up_first_line(NEVER_CLOSED)
                        break
                    line, last = lines.row, before + reader.line_num
                    if last > line and not self._is_well_formed(lines.kept(last)):
                        yield self._give_up_first_line(NEVER_CLOSED)
                        break
                    lines.row = last + 1
                    if cells:
                        yield TableRow(line, cells)
            except _RowTooLong:
                yield self._skip_long_row()

    def _is_well_formed(self, lines: list[str]) -> bool:
        try:
            return len(list(csv.reader(lines, delimiter=self._delimiter, strict=True))) == 1
        except csv.Error:
            return False

    def _give_up_first_line(self, reason: str) -> Unreadable:
        line, text = self._lines.row, self._lines.kept()[0]
        self._lines.resume_at(line + 1)
        return Unreadable(line, reason, text)

    def _skip_long_row(self) -> Unreadable:
        kept = self._lines.kept()
        if len(kept) > 1 and self._are_rows(kept[1:]):
            return self._give_up_first_line(NEVER_CLOSED)
        line = self._lines.row
        self._lines.resume_at(line + len(kept))
        return Unreadable(line, TOO_LONG, kept[0][:SHOWN_CHARACTERS])

    def _are_rows(self, lines: list[str]) -> bool:
        """Whether the lines after a quote look like rows, so that it should have been closed."""
        sample = list(itertools.islice(csv.reader(lines, delimiter=self._delimiter), 20))
        return 2 * sum(len(cells) == len(self.header) for cells in sample) > len(sample)


def _is_separator_line(cells: list[str]) -> bool:
    """Whether this is the ``sep=;`` that tells Excel the delimiter."""
    return cells[0].lower().startswith("sep=") and len("".join(cells)) <= len("sep=;")
