"""The real catalogues with labels, and variations of them that nothing was chosen on.

Abt-Buy      for each Abt product, its match among all Buy products
SIGMOD 2022  for each offer, its duplicates among all others
IKEA         for each product, others of its category, which is left out of the text
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from recsys_cli.cleaning import clean_fields
from recsys_cli.domain import Product

Wanted: TypeAlias = dict[int, set[int]]
"""For each queried row, the rows that are true matches."""


class Labelled(NamedTuple):
    """A catalogue and its truth: the first ``queries`` rows are asked against the rest.

    Where ``queries`` is None each row is asked against all others.
    """

    name: str
    products: list[Product]
    wanted: Wanted
    queries: int | None = None


def matching_sets(data: Path) -> list[Labelled]:
    return [abt_buy(data), sigmod(data)]


def variations(data: Path) -> list[Labelled]:
    """Return the matching sets with fields missing, moved or garbled, and among many strangers."""
    found = []
    for labelled in matching_sets(data):
        for what, change in _CHANGES.items():
            chance = random.Random(1)
            changed = [change(product, chance) for product in labelled.products]
            found.append(labelled._replace(name=f"{labelled.name}, {what}", products=changed))
    abt, offers = matching_sets(data)
    strangers = [*offers.products, *ikea(data).products]
    found.append(abt._replace(name=f"{abt.name}, among others", products=abt.products + strangers))
    return found


def abt_buy(data: Path) -> Labelled:
    abt, buy, truth = (
        _rows(data / "abt_buy" / name, delimiter="|") for name in ("abt.csv", "buy.csv", "gt.csv")
    )
    abt_at, buy_at = ({row["id"]: n for n, row in enumerate(rows)} for rows in (abt, buy))
    wanted: Wanted = defaultdict(set)
    for row in truth:
        wanted[abt_at[row["D1"]]].add(buy_at[row["D2"]])
    fields = ("name", "description")
    return Labelled("Abt-Buy", _products(abt, fields) + _products(buy, fields), wanted, len(abt))


def sigmod(data: Path) -> Labelled:
    offers = _rows(data / "sigmod2022" / "X2.csv")
    at = {row["id"]: n for n, row in enumerate(offers)}
    wanted: Wanted = defaultdict(set)
    for row in _rows(data / "sigmod2022" / "Y2.csv"):
        left, right = at[row["lid"]], at[row["rid"]]
        wanted[left].add(right)
        wanted[right].add(left)
    products = _products(offers, ("name", "description", "category", "brand"))
    return Labelled("SIGMOD", products, wanted)


def ikea(data: Path) -> Labelled:
    items = list({row["item_id"]: row for row in _rows(data / "ikea" / "ikea.csv")[::-1]}.values())
    alike: dict[str, set[int]] = defaultdict(set)
    for n, row in enumerate(items):
        alike[row["category"]].add(n)
    renamed = [row | {"description": row["short_description"]} for row in items]
    products = _products(renamed, ("name", "description", "designer"))
    return Labelled("IKEA", products, {n: alike[row["category"]] for n, row in enumerate(items)})


def _only_the_name(product: Product, _: random.Random) -> Product:
    return Product(id=product.id, name=product.name)


def _one_field(product: Product, _: random.Random) -> Product:
    return Product(id=product.id, name=f"{product.name} {product.description}")


def _often_undescribed(product: Product, chance: random.Random) -> Product:
    return product if chance.random() < 0.5 else msgspec.structs.replace(product, description="")


def _garbled(product: Product, chance: random.Random) -> Product:
    return msgspec.structs.replace(
        product,
        name=_with_errors(product.name, chance),
        description=_with_errors(product.description, chance),
    )


_CHANGES: dict[str, Callable[[Product, random.Random], Product]] = {
    "only the name": _only_the_name,
    "all in one field": _one_field,
    "half undescribed": _often_undescribed,
    "garbled": _garbled,
}


def _with_errors(text: str, chance: random.Random) -> str:
    """Drop every fifth word, and swap two letters in every tenth."""
    kept = [word for word in text.split() if chance.random() > 0.2]
    return " ".join(_swapped(w, chance) if chance.random() < 0.1 else w for w in kept)


def _swapped(word: str, chance: random.Random) -> str:
    at = chance.randrange(max(1, len(word) - 1))
    return word[:at] + word[at : at + 2][::-1] + word[at + 2 :]


def _products(rows: Iterable[dict[str, str]], fields: Sequence[str]) -> list[Product]:
    return [
        Product.from_fields(str(n), clean_fields({name: row[name] for name in fields}))
        for n, row in enumerate(rows)
    ]


def _rows(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as feed:
        return list(csv.DictReader(feed, delimiter=delimiter))
