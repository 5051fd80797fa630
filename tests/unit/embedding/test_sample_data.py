"""The sample catalogue makes sense: to its readers, and to the embedding."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from recsys_cli.cleaning import clean_fields
from recsys_cli.domain import Product
from recsys_cli.embedding.tfidf import TfidfFactory

FOLDER = Path(__file__).parents[3] / "sample_data"


def read(name: str) -> list[Product]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as feed:
        return [
            Product.from_fields(row.pop("id"), clean_fields(row)) for row in csv.DictReader(feed)
        ]


SHOP = read("products.csv")
UPDATE = read("update.csv")
ROWS = TfidfFactory().fit(SHOP).embed(SHOP)
PLACE = {product.id: place for place, product in enumerate(SHOP)}


def neighbors(product_id: str, count: int) -> list[Product]:
    place = PLACE[product_id]
    scores = ROWS @ ROWS[place]
    scores[place] = -1
    return [SHOP[n] for n in np.argsort(-scores, kind="stable")[:count]]


def test_ids_are_distinct() -> None:
    assert len(PLACE) == len(SHOP)


def test_the_nearest_neighbor_is_of_the_same_category() -> None:
    strangers = {p.id: n.name for p in SHOP if (n := neighbors(p.id, 1)[0]).category != p.category}
    assert not strangers


@pytest.mark.parametrize(
    ("product_id", "family"),
    [
        ("prod-123", {"prod-117", "prod-118", "prod-124"}),
        ("prod-101", {"prod-102", "prod-103"}),
        ("prod-113", {"prod-114"}),
        ("prod-127", {"prod-128"}),
        ("prod-135", {"prod-136", "prod-137", "prod-138"}),
        ("prod-146", {"prod-145"}),
        ("prod-151", {"prod-152"}),
        ("prod-161", {"prod-162"}),
        ("prod-173", {"prod-174"}),
        ("prod-178", {"prod-179", "prod-180"}),
        ("prod-199", {"prod-200", "prod-201"}),
        ("prod-215", {"prod-214", "prod-216"}),
    ],
)
def test_families_are_neighbors(product_id: str, family: set[str]) -> None:
    assert {product.id for product in neighbors(product_id, len(family))} == family


def test_the_update_changes_a_few_and_adds_two() -> None:
    changed = [p for p in UPDATE if p.id in PLACE and p != SHOP[PLACE[p.id]]]
    assert len([p for p in UPDATE if p.id not in PLACE]) == 2
    assert changed
