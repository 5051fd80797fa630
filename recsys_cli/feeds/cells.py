"""What the cells of a feed become, a column at a time.

Nearly every cell is text that is clean already, or all but for spaces around it, and finding that
out must cost next to nothing: each function here goes over a column in one expression, and calls
on the full rules only for the cells that need them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from recsys_cli.cleaning import MAX_ID_BYTES, clean_id, clean_price, clean_text, one_line
from recsys_cli.domain import FieldValue
from recsys_cli.errors import InvalidProduct
from recsys_cli.feeds import html
from recsys_cli.feeds.prices import parse_price

Wrong: TypeAlias = dict[int, str]
"""Why a row is no product, by its place in the block; the first reason counts."""

CellReader: TypeAlias = Callable[[Sequence[object], Wrong], Sequence[FieldValue]]
"""Reads a column. In place of a cell that cannot be read it says what is wrong."""


def read_ids(column: Sequence[object], wrong: Wrong) -> list[str]:
    """Return the ids, empty where there is none that is valid."""
    return [
        (
            type(cell) is str
            and cell.isascii()
            and "\0" not in cell
            and len(cell) <= MAX_ID_BYTES
            and cell.strip()
        )
        or _id(cell, place, wrong)
        for place, cell in enumerate(column)
    ]


def read_texts(column: Sequence[object], _: Wrong) -> list[str | None]:
    """Return what a reader would see of each cell, None where it is nothing."""
    return [
        (
            cell.strip()
            if type(cell) is str
            and cell.isascii()
            and "<" not in cell
            and "&" not in cell
            and "\0" not in cell
            else _text(cell)
        )
        or None
        for cell in column
    ]


def read_lines(column: Sequence[object], wrong: Wrong) -> list[str | None]:
    """Return each cell's text on one line."""
    return [text and one_line(text) for text in read_texts(column, wrong)]


def read_categories(column: Sequence[object], wrong: Wrong) -> list[str | None]:
    """Return each category on one line; JSON may have it as a list, from the top down."""
    return read_lines([_path(cell) if isinstance(cell, list) else cell for cell in column], wrong)


def read_prices(column: Sequence[object], wrong: Wrong) -> list[float | None]:
    """Return the amounts."""
    prices: list[float | None] = []
    for cell in column:
        try:
            prices.append(parse_price(cell) if isinstance(cell, str) else clean_price(cell))
        except InvalidProduct as error:
            wrong.setdefault(len(prices), str(error))
            prices.append(None)
    return prices


def _id(cell: object, place: int, wrong: Wrong) -> str:
    try:
        return clean_id(cell)
    except InvalidProduct as error:
        wrong.setdefault(place, str(error))
        return ""


def _text(cell: object) -> str | None:
    if cell is None:
        return None
    if isinstance(cell, str) and ("<" in cell or "&" in cell):
        cell = html.to_text(cell)
    return clean_text(cell)


def _path(parts: list[object]) -> str:
    return " > ".join(str(p.get("name", "")) if isinstance(p, dict) else str(p) for p in parts)
