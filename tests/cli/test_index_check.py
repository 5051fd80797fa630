from __future__ import annotations

from pathlib import Path

import pytest

from recsys_cli.pipeline.recall import Recall
from tests.commands import Recsys
from tests.flow.test_reembed import SHOP, many

BAD = ("--m", 2, "--ef-construction", 4, "--ef-runtime", 1)


@pytest.fixture
def badly_indexed(recsys: Recsys, tmp_path: Path) -> Recsys:
    recsys("index", "create", *BAD)
    return recsys.stock(many(tmp_path, 1500), batch_size=1500)


def is_exact(recsys: Recsys) -> bool:
    return bool(recsys("index", "info", "--json").json["algorithm"] == "exact")


def test_a_bad_index_fails_and_the_ef_that_mends_it_is_named(badly_indexed: Recsys) -> None:
    if is_exact(badly_indexed):
        assert badly_indexed("index", "check", "--json").json["recall"] == 1.0
        return
    goal = ("--min-recall", 0.6, "--sample", 200)
    failed = badly_indexed("index", "check", *goal, "--json", exits=3)

    found = failed.json
    assert found["recall"] < 0.6
    assert found["ef_runtime"] == 1
    assert found["queries"] == 200
    assert sum(count for _, count in found["histogram"]) == 200
    assert len(found["worst"]) == 10
    ef = found["ef_that_suffices"]
    assert f"ef_runtime {ef} would find enough: recsys index check --tune" in failed.err

    badly_indexed("index", "check", *goal, "--tune", exits=3)
    tuned = badly_indexed("index", "check", *goal, "--json").json
    assert tuned["recall"] >= 0.6
    assert tuned["ef_runtime"] == ef
    assert badly_indexed("index", "info", "--json").json["parameters"]["ef_runtime"] == ef


def test_where_no_ef_suffices_it_says_so(badly_indexed: Recsys) -> None:
    if is_exact(badly_indexed):
        return
    failed = badly_indexed("index", "check", "--min-recall", 1, "--sample", 200, exits=3)
    assert "no ef_runtime finds enough in this graph: recsys reembed --m 32" in failed.err
    assert "found least" in failed.out
    badly_indexed("reembed", "--m", 32, "--ef-construction", 400, "--ef-runtime", 200)
    assert badly_indexed("index", "check", "--json").json["recall"] > 0.99


def test_a_good_index_passes(recsys: Recsys) -> None:
    recsys.stock(SHOP)
    passed = recsys("index", "check", "--sample", 50)
    assert "recall@10\t1.0000" in passed.out
    assert "found least" not in passed.out


@pytest.mark.parametrize("recsys", ["embedded+pinecone"], indirect=True)
def test_where_nothing_can_be_set_it_says_so(recsys: Recsys) -> None:
    recsys.stock(SHOP)
    assert "the backend searches in its own way" in recsys("index", "check").out
    assert recsys("index", "check", "--json").json["is_exact"] is False


def test_with_nothing_to_find_it_says_so(recsys: Recsys) -> None:
    recsys("index", "create")
    assert "no neighbors to look for" in recsys("index", "check", exits=4).err


def test_the_histogram_counts_each_query_once() -> None:
    found = Recall({"a": 1.0, "b": 0.9, "c": 0.95, "d": 0.3, "e": 0.0})
    assert dict(found.histogram)["1.0"] == 1
    assert dict(found.histogram)["0.9 - 1.0"] == 2
    assert dict(found.histogram)["0.3 - 0.4"] == 1
    assert dict(found.histogram)["0.0 - 0.1"] == 1
    assert found.worst(2) == [("e", 0.0), ("d", 0.3)]
