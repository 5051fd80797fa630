"""Which column is what, under the names that real exports use.

The first name that a feed has wins, over all its rows: a WooCommerce ``Type`` says "variation" and
a Magento ``product_type`` says "simple", but both exports have ``categories`` as well. Spelling
does not matter: case, spaces, punctuation and the ``g:`` of Google Merchant feeds are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recsys_cli.domain import CORE_FIELDS
from recsys_cli.errors import FeedError, UsageError
from recsys_cli.feeds.records import REJECT

FIELDS = ("id", *CORE_FIELDS)

KNOWN_AS: dict[str, list[str]] = {
    "id": (
        "id product_id item_id sku handle product_code item_code code asin uniq_id offer_id "
        "article_number variant_sku reference gtin ean upc"
    ).split(),
    "name": "name title product_name product_title item_name item_title label".split(),
    "description": (
        "description body_html long_description product_description item_description body "
        "content details about_product short_description summary"
    ).split(),
    "category": (
        "category categories categories_x_y_z category_path category_name product_category "
        "main_category primary_category product_type type google_product_category "
        "google_shopping_google_product_category department"
    ).split(),
    "price": (
        "price variant_price regular_price price_tax_excluded price_tax_included list_price "
        "current_price actual_price selling_price retail_price unit_price final_price "
        "sale_price discounted_price amount"
    ).split(),
}

SHORT_TEXTS = ("short_description", "summary")
"""Stand in, row by row, for a description that is empty."""

DROPPED = None


class Plan(NamedTuple):
    """What each column becomes: a field, an attribute, or nothing (None), in the columns' order."""

    names: tuple[str | None, ...]
    short_text: str | None
    """The attribute to take where the description is empty."""

    def cut(self, width: int) -> Plan:
        """Return the plan of rows that end after so many cells."""
        return self._replace(names=self.names[:width])


def parse_mapping(text: str) -> dict[str, str]:
    """Read ``id=sku,name=title`` as field -> column. Raises UsageError."""
    mapping = {}
    for pair in text.split(","):
        field, separator, column = (part.strip() for part in pair.partition("="))
        if not separator or not column:
            raise UsageError(f"--map {pair!r} is not FIELD=COLUMN", hint="--map id=sku,name=title")
        if field not in FIELDS:
            raise UsageError(
                f"--map {pair!r}: there is no field {field!r}; the fields are {', '.join(FIELDS)}"
            )
        mapping[field] = column
    return mapping


def recognise(columns: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """Return for each field found the number of its column; ``mapping`` decides first.

    Raises UsageError for a mapped column that is not there.
    """
    spelled = [_plain(column) for column in columns]
    found: dict[str, int] = {}
    for field, column in mapping.items():
        if column in columns:
            found[field] = columns.index(column)
        elif _plain(column) in spelled:
            found[field] = spelled.index(_plain(column))
        else:
            raise UsageError(f"--map {field}={column}: the feed has only {_listed(columns)}")
    for field, names in KNOWN_AS.items():
        if field in found:
            continue
        free = [name for name in names if name in spelled]
        numbers = [n for n in map(spelled.index, free) if n not in found.values()]
        if numbers:
            found[field] = numbers[0]
    return found


def plan(columns: Sequence[str], found: Mapping[str, int]) -> Plan:
    """Return what each column becomes. Of columns with one name the first counts."""
    fields = {number: field for field, number in found.items()}
    names: list[str | None] = []
    for number, column in enumerate(columns):
        name = fields.get(number) or _attribute(column)
        is_repeated = column in columns[:number] and number not in fields
        names.append(DROPPED if is_repeated or name in names else name)
    short = next((n for n in names if n and _plain(n) in SHORT_TEXTS), None)
    return Plan(tuple(names), short)


def require_id(columns: Sequence[str], found: Mapping[str, int], feed: str) -> None:
    """Raise FeedError, naming the columns, where none can be the id."""
    if "id" not in found:
        raise FeedError(
            f"{feed} has no column that looks like an id; its columns are {_listed(columns)}",
            hint="--map id=COLUMN",
        )


def _attribute(column: str) -> str | None:
    name = column.strip()
    if not name or name == REJECT:
        return DROPPED
    return f"{name} (column)" if name in FIELDS else name


def _plain(column: str) -> str:
    bare = column.strip().casefold().removeprefix("g:")
    return re.sub(r"[\W_]+", "_", bare).strip("_")


def _listed(columns: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(column[:40]) for column in columns[:most])
    return shown + (f" and {len(columns) - most} more" if len(columns) > most else "")
