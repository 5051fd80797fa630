"""CSV and its relatives, through the csv module, with what that leaves to its caller.

Line numbers are those an editor shows, at the line where a row begins. What strict reading refuses
is looked at again: one line with odd quotes is taken as it is. But a quote that is never closed
must not swallow the rows behind it, so the lines of the row in hand are kept: when the row turns
out broken (at the end of the feed, by its length, or because a quote closes in the middle of a
later row's cell) its first line alone is unreadable, and reading resumes at the line after it.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from recsys_cli.cleaning import MAX_PRODUCT_BYTES
from recsys_cli.feeds.lines import SHOWN_CHARACTERS, OverlongLine
from recsys_cli.feeds.records import TOO_LONG, TableRow, Unreadable

if TYPE_CHECKING:
    from _csv import Reader

# Rows are bounded here, by their length; the csv module's own limit would end the whole file.
csv.field_size_limit(sys.maxsize)

NEVER_CLOSED = "a quote is opened in this row and never properly closed"

_END = "\0end of the lines\0"
"""A last line of our own: if it is read into a row, a quote in that is still open."""


class Table:
    """The rows of delimited text. ``header`` is empty where the feed is.

    Iterate it once: the rows come in lists, as many as a block of lines holds.
    """

    def __init__(self, blocks: Iterable[list[str]], delimiter: str) -> None:
        self._blocks = blocks
        self._delimiter = delimiter
        self._lines: list[str] = []
        """Lines that are not read yet: between two blocks, those of a row that goes on."""
        self._line = 1
        """The number of the first of them."""
        self.header: list[str] = []
        self._pieces = self._read()
        for piece in self._pieces:
            if not isinstance(piece, Unreadable) and (rest := self._after_header(piece)):
                self._pieces = itertools.chain([rest], self._pieces)
            if self.header:
                break

    def __iter__(self) -> Iterator[list[TableRow] | Unreadable]:
        return self._pieces

    def _after_header(self, rows: list[TableRow]) -> list[TableRow]:
        for number, (_, cells) in enumerate(rows, 1):
            if not _is_separator_line(cells):
                self.header = cells
                return rows[number:]
        return []

    def _read(self) -> Iterator[list[TableRow] | Unreadable]:
        size = enough = 0
        for block in self._blocks:
            is_overlong = isinstance(block[0], OverlongLine)
            most = 0 if is_overlong else MAX_PRODUCT_BYTES
            if not is_overlong:
                self._lines += block
                size += sum(map(len, block))
            if size >= min(enough, most):
                yield from self._rows()
                while (size := sum(map(len, self._lines))) > most:
                    yield self._skip_long_row()
                    yield from self._rows()
                # A row that goes on is begun again only with many times as much.
                enough = 8 * size
            if is_overlong:
                self._lines = block
                yield self._skip(1, TOO_LONG)
        yield from self._rows()
        while self._lines:
            yield self._skip(1, NEVER_CLOSED)
            yield from self._rows()

    def _rows(self) -> Iterator[list[TableRow] | Unreadable]:
        """Yield the rows that end within the lines, and leave the lines of one that does not."""
        lines, first, at = self._lines, self._line, 0
        rows: list[TableRow] = []
        before, reader = at, self._reader(at, strict=True)
        while at < len(lines):
            try:
                for cells in reader:
                    if cells:
                        rows.append((first + at, cells))
                    at = before + reader.line_num
            except csv.Error:
                cells, after = self._read_leniently(at)
                if after > len(lines):
                    break
                if after == at + 1:  # the line that the reader has refused, and is now behind
                    rows.append((first + at, cells))
                else:
                    yield rows
                    yield Unreadable(first + at, NEVER_CLOSED, lines[at])
                    rows = []
                    before, reader = at + 1, self._reader(at + 1, strict=True)
                at += 1
        yield rows
        self._lines, self._line = lines[at:], first + at

    def _read_leniently(self, at: int) -> tuple[list[str], int]:
        """Return the row that begins here, its quotes as they are, and where the next begins.

        That is behind the last line where the row is still open.
        """
        reader = self._reader(at, strict=False)
        return next(reader), at + reader.line_num

    def _reader(self, start: int, *, strict: bool) -> Reader:
        """Read from a line on, without a copy: many rows may have to be begun anew."""
        lines = map(self._lines.__getitem__, range(start, len(self._lines)))
        return csv.reader(
            lines if strict else itertools.chain(lines, (_END,)),
            delimiter=self._delimiter,
            strict=strict,
        )

    def _skip_long_row(self) -> Unreadable:
        if len(self._lines) > 1 and self._are_rows(self._lines[1:]):
            return self._skip(1, NEVER_CLOSED)
        return self._skip(len(self._lines), TOO_LONG)

    def _skip(self, count: int, reason: str) -> Unreadable:
        line, text = self._line, self._lines[0]
        self._lines, self._line = self._lines[count:], line + count
        return Unreadable(line, reason, text[:SHOWN_CHARACTERS] if reason is TOO_LONG else text)

    def _are_rows(self, lines: list[str]) -> bool:
        """Whether the lines after a quote look like rows, so that it should have been closed."""
        sample = list(itertools.islice(csv.reader(lines, delimiter=self._delimiter), 20))
        return 2 * sum(len(cells) == len(self.header) for cells in sample) > len(sample)


def _is_separator_line(cells: list[str]) -> bool:
    """Whether this is the ``sep=;`` that tells Excel the delimiter."""
    return cells[0].lower().startswith("sep=") and len("".join(cells)) <= len("sep=;")
