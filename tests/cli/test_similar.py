from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands import Recsys

HOSTILE = [
    'Toys & Games {new} | "x"',
    "a,b;c",
    "back\\slash",
    "@price:[0 1]",
    "*",
    "50% off!",
    "Đồ chơi 🧸",
]


@pytest.fixture
def shop(recsys: Recsys, tmp_path: Path) -> Recsys:
    rows: list[dict[str, object]] = [
        {"id": f"toy {i}", "name": f"Wooden train set {i}", "category": c, "price": 10 * (i + 1)}
        for i, c in enumerate(HOSTILE)
    ]
    rows.append({**rows[0], "id": "twin"})
    rows.append({"id": "free", "name": "Wooden train set without a price", "category": "Toys"})
    rows.append({"id": "far", "name": "Espresso beans", "category": "Coffee", "price": 9})
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(map(json.dumps, rows)))
    return recsys.stock(feed)


def ids(answer: dict[str, list[dict[str, str]]]) -> set[str]:
    return {neighbor["product_id"] for neighbor in answer["neighbors"]}


def test_the_product_itself_is_never_a_neighbor(shop: Recsys) -> None:
    answer = shop("similar", "toy 0", "-n", 50, "--json").json
    assert ids(answer) == {f"toy {i}" for i in range(1, len(HOSTILE))} | {"free", "far", "twin"}


@pytest.mark.parametrize(("number", "category"), list(enumerate(HOSTILE)))
def test_a_category_filters_and_never_injects(shop: Recsys, number: int, category: str) -> None:
    answer = shop("similar", "free", "--category", category, "--json").json
    assert ids(answer) == {f"toy {number}"} | ({"twin"} if number == 0 else set())


def test_price_bounds_are_inclusive_and_need_a_price(shop: Recsys) -> None:
    bounds = ("--price-min", 20, "--price-max", 40, "--json")
    assert ids(shop("similar", "toy 0", *bounds).json) == {"toy 1", "toy 2", "toy 3"}


def test_without_a_threshold_weak_neighbors_are_marked_not_hidden(shop: Recsys) -> None:
    neighbors = shop("similar", "toy 0", "-n", 50, "--json").json["neighbors"]
    assert {n["product_id"]: n["strong"] for n in neighbors}["far"] is False
    assert all(n["strong"] == (n["similarity_score"] >= 0.75) for n in neighbors)
    assert any(n["strong"] for n in neighbors)
    table = shop("similar", "toy 0", "-n", 50)
    assert "\tweak\tEspresso beans" in table.out
    assert "weak: below 0.75; --min-score 0.75 hides them" in table.err


def test_an_explicit_threshold_cuts_and_says_how_many(
    shop: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_flag = shop("similar", "toy 0", "-n", 50, "--min-score", 0.75)
    assert "Espresso" not in by_flag.out
    assert "more below 0.75 are hidden; --min-score 0 shows them" in by_flag.err

    monkeypatch.setenv("SIMILARITY_THRESHOLD", "0.75")
    by_setting = shop("similar", "toy 0", "-n", 50)
    assert by_setting.out == by_flag.out
    assert "Espresso" in shop("similar", "toy 0", "-n", 50, "--min-score", -1).out


def test_many_ids_also_from_standard_input(shop: Recsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("toy 1\n\ntoy 2\n"))
    answers = shop("similar", "toy 0", "-", "--json").json_lines
    assert [answer["product_id"] for answer in answers] == ["toy 0", "toy 1", "toy 2"]


def test_many_in_a_pipe_are_one_table(shop: Recsys) -> None:
    result = shop("similar", "toy 0", "nope", "far", "-n", 2, exits=4)
    header, *rows = [line.split("\t") for line in result.out.splitlines()]
    assert header[:3] == ["similar_to", "#", "product_id"]
    assert [row[:2] for row in rows] == [[i, n] for i in ("toy 0", "far") for n in ("1", "2")]
    alone = [line.split("\t") for line in shop("similar", "far", "-n", 2).out.splitlines()]
    assert alone == [row[1:] for row in (header, *rows[2:])]
    assert "far: weak: below 0.75" in result.err


def test_scores_have_six_decimals(shop: Recsys) -> None:
    for neighbor in shop("similar", "free", "--json").json["neighbors"]:
        assert neighbor["similarity_score"] == round(neighbor["similarity_score"], 6)


def test_prices_that_cannot_be_are_refused(shop: Recsys) -> None:
    crossed = shop("similar", "toy 0", "--price-min", 50, "--price-max", 9.5, exits=2)
    assert "--price-min 50 is above --price-max 9.5" in crossed.err
    assert ids(shop("similar", "toy 0", "--price-min", 20, "--price-max", 20, "--json").json)


def test_an_unknown_id_among_known_ones_does_not_stop_them(shop: Recsys) -> None:
    result = shop("similar", "toy 0", "nope", "toy 1", "--json", exits=4)
    assert len(result.json_lines) == 2
    assert "the catalog has no product 'nope'" in result.err


def test_text_without_words_is_one_sentence(shop: Recsys) -> None:
    assert "has no words to compare" in shop("similar", "--text", "!!!", exits=2).err


def test_text_before_any_model_is_one_sentence(recsys: Recsys) -> None:
    assert "no embedding model yet" in recsys("similar", "--text", "lamp", exits=4).err


def test_neither_ids_nor_text_is_a_usage_error(recsys_embedded: Recsys) -> None:
    assert "give product ids, or a --text" in recsys_embedded("similar", exits=2).err


def test_a_product_without_words_is_kept_and_reported(recsys: Recsys) -> None:
    recsys("product", "put", "x", "--name", "!!!")
    assert "without words 1" in recsys("consume", "--drain").err
    assert "its text has no words" in recsys("similar", "x", exits=4).err
    assert recsys("product", "show", "x", "--json").json["name"] == "!!!"


def test_scores_are_the_same_on_both_backends(
    recsys_embedded: Recsys, request: pytest.FixtureRequest
) -> None:
    feed = Path(__file__).parents[2] / "sample_data" / "products.csv"
    answers = []
    for _ in range(2):
        recsys_embedded.stock(feed, batch_size=500)
        answers.append(recsys_embedded("similar", "prod-123", "-n", 20, "--json").json)
        monkeypatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setenv("REDIS_URL", request.getfixturevalue("redis_server").url)
    embedded, on_redis = (
        {n["product_id"]: n["similarity_score"] for n in answer["neighbors"]} for answer in answers
    )
    assert embedded.keys() == on_redis.keys()
    for product_id, score in embedded.items():
        assert np.isclose(score, on_redis[product_id], atol=1e-5)
