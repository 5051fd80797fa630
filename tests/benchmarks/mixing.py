"""Catalogues of any size, mixed from the real ones beside the checkout, always the same.

Word statistics are kept by taking words, never making them: each product has the words of one real
product, in their order, of which three in ten give way to a word from the same field of another.
Both are drawn evenly from all real products, so a word is as frequent, within its field, as in the
shops, texts are as long, and category and price are those of the first. What is lost is that words
stand together: a mixed product is less like its nearest than a real one.

The generator is seeded, so the first thousand of a hundred thousand are the thousand.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from recsys_cli.domain import FeedRow, Product
from recsys_cli.feeds.reader import FeedOptions, open_feed
from tests.conftest import REAL_DATA

FEEDS = ("abt_buy/abt.csv", "abt_buy/buy.csv", "sigmod2022/X2.csv", "ikea/ikea.csv")
COLUMNS = ("id", "name", "description", "category", "price")
SHARE_OF_ANOTHER = 0.3


def real_products() -> list[Product]:
    """Return the products of the real catalogues."""
    found = []
    for file in FEEDS:
        with open_feed(str(REAL_DATA / file), FeedOptions(), lambda _: None) as feed:
            rows = [row for row in feed if isinstance(row, FeedRow)]
        found += [Product.from_fields(row.product_id, row.fields) for row in rows]
    return found


def mixed(count: int, seed: int = 1) -> Iterator[Product]:
    """Yield ``count`` products made of the words of real ones."""
    rng, real = random.Random(seed), real_products()
    for number in range(count):
        one, other = rng.choice(real), rng.choice(real)
        yield Product(
            id=f"mixed-{number}",
            name=_mix(rng, one.name, other.name),
            description=_mix(rng, one.description, other.description),
            category=one.category,
            price=one.price,
        )


def write_feed(path: Path, products: Iterable[Product]) -> None:
    """Write the products as a CSV feed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for product in products:
            writer.writerow(["" if (v := getattr(product, c)) is None else v for c in COLUMNS])


def _mix(rng: random.Random, text: str, other: str) -> str:
    words, others = text.split(), other.split() or [""]
    return " ".join(rng.choice(others) if rng.random() < SHARE_OF_ANOTHER else w for w in words)
