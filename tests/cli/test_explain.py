"""recsys explain, and recsys similar --explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands import Recsys

FEED = """id,name,description,category,brand
k1,Gooseneck kettle,Steel,Kitchen,Brewmark
k2,Electric kettles,Glass and steel,Kitchen,Brewmark
t1,Oak table,For six,Furniture,Holz
"""


@pytest.fixture
def shop(recsys: Recsys, tmp_path: Path) -> Recsys:
    feed = tmp_path / "feed.csv"
    feed.write_text(FEED)
    return recsys.stock(feed)


def total(explanation: dict[str, Any]) -> float:
    named = sum(word["share"] for word in explanation["words"])
    return float(named + explanation["pieces"] + explanation["collisions"])


def test_the_shares_sum_up_to_the_score_of_the_index(shop: Recsys) -> None:
    answer = shop("similar", "k1", "--explain", "--json").json
    assert [n["product_id"] for n in answer["neighbors"]] == ["k2", "t1"]
    for neighbor in answer["neighbors"]:
        assert total(neighbor["explanation"]) == pytest.approx(
            neighbor["similarity_score"], abs=1e-3
        )
    pair = shop("explain", "k1", "k2", "--json").json
    assert pair["explanation"] == answer["neighbors"][0]["explanation"]
    assert pair["stored_score"] == pytest.approx(total(pair["explanation"]), abs=1e-3)


def test_the_table_names_words_fields_and_what_is_left(shop: Recsys) -> None:
    lines = [line.split("\t") for line in shop("explain", "k1", "k2").out.splitlines()]
    by_name = {line[0]: line[1:] for line in lines}
    assert by_name["kettle ~ kettles"][1:] == ["name", "name"]
    assert by_name["steel"][1:] == ["description", "description"]
    assert by_name["brewmark"][1:] == ["brand", "brand"]
    shares = [float(line[1]) for line in lines[1:]]
    assert sum(shares[:-1]) == pytest.approx(shares[-1], abs=2e-3)


def test_fewer_words_still_sum_up(shop: Recsys) -> None:
    lines = [line.split("\t") for line in shop("explain", "k1", "k2", "-n", 1).out.splitlines()]
    assert "more words" in [line[0] for line in lines]
    shares = [float(line[1]) for line in lines[1:]]
    assert sum(shares[:-1]) == pytest.approx(shares[-1], abs=1e-3)


def test_beside_the_neighbors_and_for_a_text(shop: Recsys) -> None:
    explained = shop("similar", "k1", "--explain")
    (header, first, _) = explained.out.splitlines()
    assert "weak" not in explained.err, "there is no such column"
    assert header.split("\t")[-1] == "because"
    assert "kettle ~ kettles 0." in first
    by_text = shop("similar", "--text", "steel kettle", "--explain", "--json").json
    words = by_text["neighbors"][0]["explanation"]["words"]
    assert {"kettle", "steel"} == {w["word"] for w in words if w["word"] == w["other_word"]}


def test_what_the_index_does_not_know_yet_is_said(shop: Recsys) -> None:
    shop("product", "update", "k2", "--name", "Copper pan")
    stale = shop("explain", "k1", "k2")
    assert "the index still has them at" in stale.err
    assert "its text has changed" in shop("similar", "k1", "--explain").out
    shop("product", "put", "p9", "--name", "New")
    assert "not both of them are embedded: " in shop("explain", "k1", "p9").err
    shop("product", "rm", "k2")
    assert "deleted meanwhile" in shop("similar", "k1", "--explain").out
    assert "no product 'k2'" in shop("explain", "k1", "k2", exits=4).err


def test_before_the_first_model(recsys: Recsys) -> None:
    recsys("product", "put", "p1", "--name", "Lamp")
    assert "there is no embedding model yet" in recsys("explain", "p1", "p1", exits=4).err
    assert "no product 'a'" in recsys("similar", "a", "--explain", exits=4).err
