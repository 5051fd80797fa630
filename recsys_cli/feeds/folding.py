"""Rows that only continue the one before them are folded into it.

In a Shopify export a product's further variants and images are such rows: the same handle, and
neither title nor text. They fill what is still empty and are no rows of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, cast

from recsys_cli.domain import FeedRow, RejectedRow


class Textless(NamedTuple):
    """A row that has an id and nothing to compare: rejected, unless it continues another.

    ``keys`` and ``cells`` are its record, by the feed's own names of the columns.
    """

    row: FeedRow
    keys: Sequence[str]
    cells: Sequence[object]

    @property
    def line(self) -> int:
        return self.row.line

    def rejected(self) -> RejectedRow:
        return RejectedRow(
            file=self.row.file,
            line=self.row.line,
            reason="no text: neither a name nor a description",
            product_id=self.row.product_id,
            raw=dict(zip(self.keys, self.cells, strict=False)),
        )


Row: TypeAlias = FeedRow | RejectedRow | Textless


class Folding:
    """Folds blocks of rows. ``folded`` counts those that continued another."""

    def __init__(self) -> None:
        self.folded = 0

    def blocks(self, blocks: Iterable[list[Row]]) -> Iterator[list[FeedRow | RejectedRow]]:
        """Yield the blocks without such rows; a last row waits for those that continue it."""
        held: list[FeedRow] = []
        for block in blocks:
            rows = self._fold([*held, *block])
            last = rows[-1] if rows else None
            held = [last] if isinstance(last, FeedRow) else []
            yield rows[: len(rows) - len(held)]
        yield [*held]

    def _fold(self, rows: list[Row]) -> list[FeedRow | RejectedRow]:
        if Textless not in set(map(type, rows)):
            return cast("list[FeedRow | RejectedRow]", rows)
        found: list[FeedRow | RejectedRow] = []
        last: FeedRow | RejectedRow | None = None
        for row in rows:
            if not isinstance(row, Textless):
                last = row
            elif isinstance(last, FeedRow) and last.product_id == row.row.product_id:
                _fill(last, row.row)
                self.folded += 1
                continue
            else:
                last = row.rejected()
            found.append(last)
        return found


def _fill(row: FeedRow, more: FeedRow) -> None:
    for name, value in more.fields.items():
        if row.fields.get(name) is None:
            row.fields[name] = value
