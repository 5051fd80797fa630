"""recsys evaluate: how often the true matches are found."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.benchmarks.catalogues import abt_buy
from tests.commands import Recsys

FEED = """id,name,category,brand
k1,Gooseneck kettle steel,Kitchen,Brewmark
k2,Gooseneck kettle black,Kitchen,Brewmark
t1,Oak table round,Furniture,Holz
t2,Oak table square,Furniture,Holz
z,...,,
"""


@pytest.fixture
def shop(recsys: Recsys, tmp_path: Path) -> Recsys:
    feed = tmp_path / "feed.csv"
    feed.write_text(FEED)
    return recsys.stock(feed)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.csv"
    file.write_text("left,right\nk1,k2\nt1,t2\n")
    return file


def test_pairs_on_the_live_index(shop: Recsys, pairs: Path) -> None:
    (found,) = shop("evaluate", "--pairs", pairs, "-k", 2, "--json").json["evaluations"]
    assert found["name"] == "live index"
    assert found["values"] == {
        "recall@1": 1.0,
        "recall@2": 1.0,
        "mrr@2": 1.0,
        "ndcg@2": 1.0,
        "precision@2": 0.5,
        "coverage@2": 1.0,
    }
    assert (found["queries"], found["missing"], found["zero_vectors"]) == (4, 0, 1)


def test_wrong_pairs_are_not_found(shop: Recsys, tmp_path: Path) -> None:
    file = tmp_path / "wrong.tsv"
    file.write_text("k1\tt1\nk2\tnowhere\n")
    done = shop("evaluate", "--pairs", file, "-k", 1, "--json")
    (found,) = done.json["evaluations"]
    assert found["values"]["recall@1"] == 0
    assert (found["queries"], found["missing"]) == (4, 1)
    table = shop("evaluate", "--pairs", file, "-k", 1)
    assert "1 of 4 queries have no embedding; they count as misses" in table.err


def test_by_a_field_that_a_model_must_not_see(shop: Recsys) -> None:
    live = shop("evaluate", "--by", "category", "-k", 1, "--json")
    assert live.json["evaluations"][0]["values"]["precision@1"] == 1
    assert "the live index may know category itself" in " ".join(live.err.split())
    active = shop("evaluate", "--by", "brand", "-k", 1, "--model", "active", "--json")
    assert active.json["evaluations"][0]["values"]["precision@1"] == 1


def test_two_models_side_by_side(shop: Recsys, pairs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.model"
    feed = tmp_path / "other.csv"
    feed.write_text("id,name\n1,Anything\n")
    shop("model", "fit", feed, "-o", other)
    done = shop("evaluate", "--pairs", pairs, "--model", "active", "--model", other)
    header, first = (line.split("\t") for line in done.out.splitlines()[:2])
    assert header == ["metric", "active", str(other), "+/-"]
    assert first == ["recall@1", "1.0000", "1.0000", "+0.0000"]


def test_saved_figures_and_floors(shop: Recsys, pairs: Path, tmp_path: Path) -> None:
    saved = tmp_path / "baseline.json"
    shop("evaluate", "--pairs", pairs, "--save", saved, "--fail-below", "recall@10=0.95")
    both = shop("evaluate", "--pairs", pairs, "--against", saved, "--json").json["evaluations"]
    assert both[0] == both[1]
    done = shop("evaluate", "--pairs", pairs, "--fail-below", "precision@10=0.2", exits=3)
    assert "precision@10 is 0.1000, below 0.2" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --pairs FILE or --by FIELD"),
        (["--by", "category", "--pairs", "x.csv"], "give --pairs FILE or --by FIELD"),
        (["--pairs", "{pairs}", "--fail-below", "recall@5=1"], "no such metric; with -k 10"),
        (["--pairs", "{pairs}", "--fail-below", "recall@10"], "not METRIC=VALUE"),
        (["--by", "nothing"], "nothing to evaluate"),
        (["--pairs", "{pairs}", "--against", "{pairs}"], "holds no saved figures"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(
    shop: Recsys, pairs: Path, arguments: list[str], said: str
) -> None:
    filled = [argument.replace("{pairs}", str(pairs)) for argument in arguments]
    assert said in " ".join(shop("evaluate", *filled, exits=2).err.split())


def test_a_row_that_is_no_pair_is_named(shop: Recsys, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("a,b\nk1,k2\nk1\n")
    assert "pairs.csv, line 3: 'k1' is one cell" in shop("evaluate", "--pairs", file, exits=1).err


def test_an_empty_catalog_is_a_sentence(recsys: Recsys, pairs: Path) -> None:
    assert "no embedding model yet" in recsys("evaluate", "--pairs", pairs, exits=4).err
    recsys("product", "put", "k1", "--name", "Lamp")
    recsys("consume", "--drain")
    assert "nothing to evaluate" in recsys("evaluate", "--pairs", pairs, exits=4).err


@pytest.mark.real_data
def test_both_shops_in_one_catalogue(
    recsys_embedded: Recsys, real_data: Path, tmp_path: Path
) -> None:
    labelled = abt_buy(real_data)
    feed, pairs = tmp_path / "both.csv", tmp_path / "pairs.csv"
    with feed.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "name", "description"])
        rows.writerows([f"p{n}", p.name, p.description] for n, p in enumerate(labelled.products))
    split = labelled.queries or 0
    with pairs.open("w", newline="") as file:
        for query, wanted in labelled.wanted.items():
            csv.writer(file).writerows((f"p{query}", f"p{split + m}") for m in wanted)
    recsys_embedded.stock(feed, batch_size=1000)
    done = recsys_embedded(
        "evaluate", "--pairs", pairs, "--model", "live", "--model", "active", "--json",
        "--fail-below", "recall@10=0.92",
    )  # fmt: skip
    live, active = done.json["evaluations"]
    assert live["values"] == pytest.approx(active["values"], abs=0.002)
