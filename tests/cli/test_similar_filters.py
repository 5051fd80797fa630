"""What a shop asks for: filters, variants, variety, many at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.commands import Recsys
from tests.flow.test_reembed import SHOP, many
from tests.servers import RedisServer

FEED = """id,name,category,price,brand,in_stock,group
tv-1,Television 40 inch black,TV,400,Sony,true,a
tv-2,Television 40 inch silver,TV,410,Sony,false,a
tv-3,Television 42 inch black,TV,500,LG,true,b
tv-4,Television 55 inch black,TV,900,LG,false,c
tv-5,Television 40 inch white,Outlet,300,"So|ny {x} \\ ""q"" -*@",true,
radio-1,Radio black,Audio,50,Sony,true,r
"""


@pytest.fixture
def shop(recsys: Recsys, tmp_path: Path) -> Recsys:
    feed = tmp_path / "shop.csv"
    feed.write_text(FEED)
    recsys("index", "create", "--attribute", "brand", "--attribute", "in_stock")
    return recsys.stock(feed)


def ids(recsys: Recsys, *arguments: object) -> list[str]:
    found = recsys("similar", "tv-1", *arguments, "--json").json["neighbors"]
    return [n["product_id"] for n in found]


def test_attributes_that_the_index_was_made_with(shop: Recsys) -> None:
    assert set(ids(shop, "--where", "brand=Sony")) == {"tv-2", "radio-1"}
    assert set(ids(shop, "--where", "brand=Sony", "--where", "in_stock=true")) == {"radio-1"}
    either = ids(shop, "--where", "brand=Sony", "--where", "brand=LG", "--price-min", 100)
    assert set(either) == {"tv-2", "tv-3", "tv-4"}
    assert ids(shop, "--where", "brand=sony") == []
    assert ids(shop, "--where", 'brand=So|ny {x} \\ "q" -*@') == ["tv-5"]
    assert ids(shop, "--where", "brand=So") == []
    assert shop("index", "info", "--json").json["attributes"] == ["brand", "in_stock"]


def test_an_attribute_that_changes_or_goes_is_filtered_by_anew(shop: Recsys) -> None:
    shop("product", "update", "tv-2", "--set", "brand=LG", "--unset", "in_stock")
    shop("consume", "--drain")
    assert set(ids(shop, "--where", "brand=LG")) == {"tv-2", "tv-3", "tv-4"}
    assert "tv-2" not in ids(shop, "--where", "in_stock=false")


def test_an_attribute_it_was_not_made_with_is_refused(shop: Recsys) -> None:
    refused = shop("similar", "tv-1", "--where", "group=a", exits=2).err
    assert "the index cannot filter by 'group'; it can by: brand, in_stock" in refused
    assert "recsys reembed --attribute group --attribute brand --attribute in_stock" in refused
    shop("reembed", "--attribute", "group")
    assert ids(shop, "--where", "group=b") == ["tv-3"]
    for wrong, said in (
        ("category=TV", "there is --category"),
        ("brand", "it must be NAME=VALUE"),
        ("=Sony", "it must be NAME=VALUE"),
    ):
        assert said in shop("similar", "tv-1", "--where", wrong, exits=2).err


def test_other_attributes_are_another_index(shop: Recsys) -> None:
    assert "attributes brand, in_stock, not none" in shop("index", "create", exits=1).err
    same = ("--attribute", "brand", "--attribute", "in_stock")
    assert "exists already" in shop("index", "create", *same).err
    for wrong in (("price",), ("a", "a"), (" ",)):
        flags = [word for name in wrong for word in ("--attribute", name)]
        assert "--attribute" in shop("index", "create", *flags, exits=2).err


def test_categories_can_be_left_out(shop: Recsys) -> None:
    assert "tv-5" in ids(shop)
    left = ids(shop, "--exclude-category", "Outlet", "--exclude-category", "Audio")
    assert set(left) == {"tv-2", "tv-3", "tv-4"}


def test_categories_are_cleaned_as_those_of_products_are(shop: Recsys) -> None:
    shop("product", "put", "tv-6", "--name", "Television", "--category", "Te\u0301le\u0301  neuf ")
    shop("consume", "--drain")
    for written in ("T\xe9l\xe9 neuf", "Te\u0301le\u0301  neuf "):
        assert ids(shop, "--category", written) == ["tv-6"]
        assert "tv-6" not in ids(shop, "--exclude-category", written)
    assert ids(shop, "--category", "\udcff") == []


def test_variants_are_collapsed(shop: Recsys) -> None:
    every = ids(shop)
    distinct = ids(shop, "--distinct", "brand")
    assert len(distinct) == 3
    assert distinct == [i for i in every if i in distinct], "the closest of each, in order"
    assert set(ids(shop, "--distinct", "group")) == {"tv-2", "tv-3", "tv-4", "tv-5", "radio-1"}
    assert len(ids(shop, "--distinct", "category", "--limit", 2)) == 2


def test_distinct_looks_further_than_the_first_copies(recsys: Recsys, tmp_path: Path) -> None:
    feed = tmp_path / "copies.csv"
    rows = [f"copy-{n},Desk lamp model {n % 3} black,lamp" for n in range(60)]
    rows += [f"other-{n},Desk mirror {n} black,mirror-{n}" for n in range(5)]
    feed.write_text("id,name,kind\n" + "\n".join(rows) + "\n")
    recsys.stock(feed)
    found = recsys("similar", "copy-0", "--distinct", "kind", "--limit", 4, "--json").json
    kinds = [n["product_id"].split("-")[0] for n in found["neighbors"]]
    assert kinds == ["copy", "other", "other", "other"]


def test_variety(recsys: Recsys) -> None:
    recsys.stock(SHOP)

    def found(*arguments: object) -> list[dict[str, Any]]:
        answer = recsys("similar", "prod-123", "--limit", 5, "--json", *arguments).json
        return list(answer["neighbors"])

    plain = found()
    assert found("--diverse", 1) == plain
    varied = found("--diverse", 0.3)
    assert varied[0] == plain[0]
    assert varied != plain
    assert sum(n["similarity_score"] for n in varied) < sum(n["similarity_score"] for n in plain)


def test_exact_finds_what_a_bad_graph_does_not(recsys: Recsys, tmp_path: Path) -> None:
    recsys("index", "create", "--m", 2, "--ef-construction", 4, "--ef-runtime", 1)
    recsys.stock(many(tmp_path, 2000), batch_size=1000)

    def total(*arguments: object) -> float:
        scores = 0.0
        for n in range(0, 2000, 100):
            answer = recsys("similar", f"m-{n}", "--json", *arguments).json
            scores += sum(n["similarity_score"] for n in answer["neighbors"])
        return scores

    exact, thorough, plain = total("--exact"), total("--ef", 4096), total()
    assert exact >= thorough - 1e-3
    if recsys("index", "info", "--json").json["algorithm"] == "exact":
        assert exact == plain
    else:
        assert exact > plain + 1
        assert thorough > plain
    refused = recsys("similar", "m-1", "--exact", "--ef", 5, exits=2).err
    assert "--exact goes past it" in refused


def test_many_at_once(shop: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = ["tv-1", "nothing", "radio-1", "tv-4", "tv-1"]
    lines = tmp_path / "ids"
    lines.write_text("\n".join(asked) + "\n")
    with lines.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        result = shop("similar", "-", "--json", exits=4)
    answered = [json.loads(line) for line in result.out.splitlines()]
    assert [a["product_id"] for a in answered] == [i for i in asked if i != "nothing"]
    assert "the catalog has no product 'nothing'" in result.err
    alone = [shop("similar", a["product_id"], "--json").json for a in answered]
    assert answered == alone


def test_many_are_one_round_trip_each_way(
    redis_server: RedisServer,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Counted by the server: reads of its sockets, for one id and for ninety."""
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    recsys = recsys_embedded.stock(many(tmp_path, 300), batch_size=300)

    def reads(*product_ids: str) -> int:
        with redis.Redis.from_url(redis_server.url) as client:
            before = client.info("stats")["total_reads_processed"]
            recsys("similar", *product_ids, "--json")
            return int(client.info("stats")["total_reads_processed"] - before)

    one, ninety = reads("m-0"), reads(*(f"m-{n}" for n in range(90)))
    # A pipeline of ninety vectors is more than the server reads at once.
    assert ninety < one + 45
