from __future__ import annotations

from pathlib import Path

import pytest

from recsys_cli.domain import Product
from recsys_cli.embedding.tfidf import TfidfFactory
from tests.commands import Recsys
from tests.flow.test_reembed import SHOP, UPDATE


@pytest.fixture
def shop(recsys: Recsys) -> Recsys:
    return recsys.stock(SHOP)


def grown(shop: Recsys, folder: Path) -> Recsys:
    """Add as many products again, of words that nobody has seen."""
    feed = folder / "new.csv"
    rows = [f"new-{n},zorblax{n} quexitrop{n % 7} vindlebat" for n in range(150)]
    feed.write_text("id,name\n" + "\n".join(rows) + "\n")
    return shop.stock(feed)


def test_a_fresh_model_is_not_stale(shop: Recsys) -> None:
    found = shop("drift", "--json").json
    assert (found["products"], found["changed_products"]) == (152, 0)
    assert (found["unknown_words"], found["growth"], found["zero_vectors"]) == (0, 0, 0)
    assert found["overlap"] == 1.0
    shown = shop("drift")
    assert "overlap\t1.0000\t< 0.8" in shown.out
    assert shop("reembed", "--if-stale").out == ""
    assert "is not stale: nothing to do" in shop("reembed", "--if-stale").err


def test_a_catalog_that_moved_away_exits_3_until_it_is_reembedded(
    shop: Recsys, tmp_path: Path
) -> None:
    grown(shop, tmp_path)
    drifted = shop("drift", "--json", exits=3)
    found = drifted.json
    assert found["changed_products"] == 150
    assert found["unknown_words"] > 0.9
    assert found["growth"] == pytest.approx(150 / 152)
    assert found["overlap"] < 1
    assert "unknown_words is " in drifted.err
    assert "growth is 0.9868, beyond 0.2" in drifted.err

    assert "generation 2 serves" in shop("reembed", "--if-stale").out

    assert shop("drift", "--json").json["growth"] == 0
    assert "not stale" in shop("reembed", "--if-stale").err


def test_thresholds_can_be_set(shop: Recsys, tmp_path: Path) -> None:
    grown(shop, tmp_path)
    patient = ("--threshold", "growth=1,unknown_words=1", "--threshold", "overlap=0")
    shop("drift", *patient)
    assert "not stale" in shop("reembed", "--if-stale", *patient).err
    for wrong in ("groth=1", "growth=much", "growth"):
        assert "--threshold" in shop("drift", "--threshold", wrong, exits=2).err


def test_before_the_first_model_there_is_no_drift(recsys: Recsys) -> None:
    assert "no embedding model yet" in recsys("drift", exits=4).err
    recsys("import", UPDATE)
    assert "no embedding model yet" in recsys("reembed", "--if-stale", exits=4).err


def test_unknown_words_are_estimated_though_buckets_are_shared() -> None:
    known = [Product(id=str(n), name=f"item{n * 7919} thing{n * 104729}") for n in range(20_000)]
    model = TfidfFactory().fit(known)
    unknown, words = model.unknown_words(known[:1000])
    assert (unknown, words) == (0, 2000)
    new = [Product(id="n", name=f"item{n * 7919} other{n * 15485863}") for n in range(2000)]
    unknown, words = model.unknown_words(new)
    assert words == 4000
    assert unknown == pytest.approx(2000, rel=0.15)
