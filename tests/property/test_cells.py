"""Reading a column at a time gives what the plain rules say of each cell and each row alone."""

from __future__ import annotations

import csv
import io
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_cli.cleaning import clean_fields, clean_id, clean_price, clean_text, has_text
from recsys_cli.domain import FeedRow
from recsys_cli.errors import InvalidProduct
from recsys_cli.feeds import html
from recsys_cli.feeds.cells import (
    CellReader,
    Wrong,
    read_categories,
    read_ids,
    read_lines,
    read_prices,
    read_texts,
)
from recsys_cli.feeds.delimited import Table
from recsys_cli.feeds.prices import parse_price
from recsys_cli.feeds.reader import FeedFormat, FeedOptions, open_feed
from recsys_cli.feeds.records import TableRow, Unreadable

PIECES = [
    "a",
    "B 7",
    " ",
    "  ",
    "\t",
    "\n",
    "\0",
    "é",
    "e\u0301",
    "\u2028",
    "\xa0",
    "\x1c",
    "\ud800",
]
MARKUP = ["<p>", "</p>", "<", "&amp;", "&", ">"]
AMOUNTS = ["1", "12.50", "1.299,00", "$5", "-3", "inf", "1_0", "cheap"]

texts = st.lists(st.sampled_from(PIECES + MARKUP + AMOUNTS), max_size=5).map("".join)
ids = texts | st.integers(500, 520).map(lambda size: "é" * (size // 4) + "x" * (size // 2))
encodable = texts.map(lambda text: text.replace("\ud800", ""))  # JSON has no lone surrogates
values = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(-5, 10**20),
    st.floats(allow_nan=False),
    st.lists(encodable, max_size=3),
    st.lists(st.fixed_dictionaries({"name": encodable}), max_size=2),
)


def plain_text(cell: object) -> str | None:
    if cell is None:
        return None
    return clean_text(html.to_text(cell) if isinstance(cell, str) else cell) or None


def plain_line(cell: object) -> str | None:
    return " ".join((plain_text(cell) or "").split()) or None


def plain_category(cell: object) -> str | None:
    if isinstance(cell, list):
        cell = " > ".join(str(p.get("name", "")) if isinstance(p, dict) else str(p) for p in cell)
    return plain_line(cell)


def plain_price(cell: object) -> float | None:
    return clean_price(parse_price(cell) if isinstance(cell, str) else cell)


class Reason(str):
    """Why something is no product."""

    __slots__ = ()


def said(rule: Callable[[object], object], cell: object) -> object:
    try:
        return rule(cell)
    except InvalidProduct as error:
        return Reason(error)


@pytest.mark.parametrize(
    ("read", "plain"),
    [
        (read_ids, clean_id),
        (read_texts, plain_text),
        (read_lines, plain_line),
        (read_categories, plain_category),
        (read_prices, plain_price),
    ],
)
@given(column=st.lists(values | ids, max_size=10))
@example(column=["x" * 512, " " + "x" * 512, "x" * 513, "é" * 256, "é" * 257, 7.0])
def test_a_column_is_read_as_its_cells_are(
    read: CellReader, plain: Callable[[object], object], column: list[object]
) -> None:
    wrong: Wrong = {}
    found = read(column, wrong)
    assert len(found) == len(column)
    for place, cell in enumerate(column):
        expected = said(plain, cell)
        assert wrong.get(place, found[place]) == expected
        assert (place in wrong) == isinstance(expected, Reason)


def plain_row(cells: list[str]) -> tuple[str, dict[str, object]] | str:
    """What a row of id, name, description and price becomes: id and fields, or a reason."""
    name, description, price = cells[1:]
    try:
        product_id = clean_id(cells[0])
        fields = clean_fields(
            {
                "name": html.to_text(name),
                "description": html.to_text(description),
                "price": parse_price(price),
            }
        )
    except InvalidProduct as error:
        return str(error)
    if not has_text(fields):
        return "no text: neither a name nor a description"
    return product_id, dict(fields)


rows = st.tuples(
    st.text(alphabet="abcdefgh", min_size=3, max_size=9) | texts, texts, texts, texts
).map(lambda row: [cell.replace("\ud800", "").replace("\r", "") for cell in row])


@settings(deadline=None)
@given(st.lists(rows.filter(any), max_size=12, unique_by=lambda row: row[0].strip()))
def test_a_table_is_read_as_its_rows_are(table: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [["id", "name", "description", "price"], *table]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feed.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        with open_feed(
            str(path), FeedOptions(format=FeedFormat.CSV, encoding="utf-8"), lambda _: None
        ) as feed:
            found = [
                (row.product_id, row.fields) if isinstance(row, FeedRow) else row.reason
                for row in feed
            ]
    assert found == [plain_row(row) for row in table]


def read_in_blocks(lines: list[str], cuts: list[int]) -> list[TableRow | Unreadable]:
    bounds = [0, *sorted(cut % (len(lines) + 1) for cut in cuts), len(lines)]
    blocks = [lines[a:b] for a, b in itertools.pairwise(bounds) if a < b]
    found: list[TableRow | Unreadable] = []
    for piece in Table(blocks, ","):
        found += [piece] if isinstance(piece, Unreadable) else piece
    return found


@given(
    st.lists(st.text(alphabet='ab,"', max_size=8).map(lambda line: line + "\n"), max_size=30),
    st.lists(st.integers(0, 100), max_size=8),
)
def test_rows_do_not_depend_on_where_blocks_end(lines: list[str], cuts: list[int]) -> None:
    feed = ["id,name\n", *lines]
    found = read_in_blocks(feed, cuts)
    assert found == read_in_blocks(feed, [])
    begun = [record[0] for record in found]
    assert begun == sorted(set(begun))
