"""What must have come out: every event applied in stream order, one by one, by the book.

Deliberately not the code under test: no merging, no positions per field, just a dict.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Entry: TypeAlias = tuple[str, Mapping[str, str]]
Fields: TypeAlias = dict[str, str | float]

POISON = "poison-"
"""How the timestamp of a poisonous event begins; the rest of it is unique."""


@dataclass
class Outcome:
    """``products``: those that exist, without empty fields. ``dead``: the tags of the poison."""

    products: dict[str, Fields] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)


def applied(entries: Iterable[Entry]) -> Outcome:
    """Apply the entries of a whole stream, replayed ones where they first stood."""
    outcome = Outcome()
    for _, entry in sorted(entries, key=_place):
        if entry["timestamp"].startswith(POISON):
            outcome.dead.add(entry["timestamp"])
        else:
            _apply(outcome, entry)
    # A product that was never created is there only while it has something.
    outcome.products = {i: fields for i, fields in outcome.products.items() if fields}
    return outcome


def _apply(outcome: Outcome, entry: Mapping[str, str]) -> None:
    product_id, data = entry["product_id"], json.loads(entry["data"])
    data.pop("id", None)
    match entry["event_type"]:
        case "create":
            outcome.products[product_id] = data
            outcome.deleted.discard(product_id)
        case "update" if product_id not in outcome.deleted:
            changed = outcome.products.get(product_id, {}) | data
            outcome.products[product_id] = {n: v for n, v in changed.items() if v is not None}
        case "delete":
            outcome.products.pop(product_id, None)
            outcome.deleted.add(product_id)


def _place(entry: Entry) -> tuple[int, ...]:
    entry_id, fields = entry
    return tuple(map(int, fields.get("original_id", entry_id).split("-")))
