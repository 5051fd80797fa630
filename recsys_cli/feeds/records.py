"""What the formats hand to the reader: records, and what could not become one."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from recsys_cli.cleaning import MAX_PRODUCT_BYTES

TOO_LONG = f"the row is longer than {MAX_PRODUCT_BYTES} bytes"

EXTRA_CELLS = "extra cells"
"""Where a rejected row keeps the cells that no column was there for."""

REJECT = "reject"
"""Where a rejected row keeps the reason; ignored when it is read again."""


class Unreadable(NamedTuple):
    """A piece of the feed that is no record. ``text``: the piece, or its beginning if too long."""

    line: int
    reason: str
    text: str


TableRow: TypeAlias = tuple[int, list[str]]
"""The line of a row, and its cells in the order of the header: bare, because there are so many."""


class JsonValue(NamedTuple):
    """One element of an array or line of JSON; only an object can be a product."""

    line: int
    value: object
