"""The real catalogues have the same neighbors and scores, whichever backends a shop runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import pytest

from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys
from tests.shops import ONE_EACH, move_to

FEEDS = [
    "abt_buy/abt.csv",
    "abt_buy/buy.csv",
    "feeds/leipzig_buy_raw.csv",
    "feeds/magento.csv",
    "feeds/prestashop.csv",
    "feeds/shopify_apparel.csv",
    "feeds/shopify_home-and-garden.csv",
    "feeds/shopify_jewelery.csv",
    "feeds/woocommerce.csv",
    "feeds/woocommerce_importer_test.csv",
    "ikea/ikea.csv",
    "sigmod2022/X2.csv",
]
ASKED = 100
SAME = 1e-5

Answers: TypeAlias = dict[str, list[dict[str, Any]]]
"""By product: its neighbors, as ``similar --json`` prints them."""

EXPECTED: dict[str, tuple[list[str], Answers]] = {}
"""What the embedded file has said for each feed; the tests of a feed follow each other."""

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize("shop", ONE_EACH[1:])
@pytest.mark.parametrize("feed", FEEDS)
def test_every_shop_finds_the_neighbors_that_the_embedded_file_finds(
    shop: str,
    feed: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    recsys_embedded: Recsys,
    real_data: Path,
    tmp_path: Path,
) -> None:
    recsys = recsys_embedded
    if feed not in EXPECTED:
        asked = stock(recsys, real_data / feed)
        EXPECTED[feed] = asked, answers(recsys, asked)
    asked, expected = EXPECTED[feed]
    assert any(expected.values()), "nothing is compared"

    move_to(shop, request, monkeypatch)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "of the other shop"))
    assert stock(recsys, real_data / feed) == asked
    found = answers(recsys, asked)

    assert found.keys() == expected.keys()
    for product_id in expected:
        compare(found[product_id], expected[product_id])


def stock(recsys: Recsys, feed: Path) -> list[str]:
    """Fill the shop, and return some of its products, evenly spread."""
    imported = recsys("import", feed, exits=None)
    assert imported.exit_code in (0, 3), "done, or but for some rows"
    recsys("consume", "--drain", "--batch-size", 200)
    with Backends(load()) as backends:
        ids = sorted(product.id for product in backends.get_catalog().products())
    return ids[:: max(1, len(ids) // ASKED)]


def answers(recsys: Recsys, asked: list[str]) -> Answers:
    answer = recsys("similar", *asked, "--exact", "--json", exits=None)
    assert answer.exit_code in (0, 4), "all have neighbors, or some have no words"
    return {line["product_id"]: line["neighbors"] for line in answer.json_lines}


def compare(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    scores = [neighbor["similarity_score"] for neighbor in expected]
    assert [neighbor["similarity_score"] for neighbor in found] == pytest.approx(scores, abs=SAME)
    # Who shares a score may come in any order, and at the cut may be another one.
    for one, other in zip(found, expected, strict=True):
        is_tied = sum(abs(score - other["similarity_score"]) <= 2 * SAME for score in scores) > 1
        at_the_cut = abs(scores[-1] - other["similarity_score"]) <= 2 * SAME
        if not is_tied and not at_the_cut:
            assert (one["product_id"], one["name"], one["category"], one["price"]) == (
                *(other["product_id"], other["name"]),
                *(other["category"], other["price"]),
            )
