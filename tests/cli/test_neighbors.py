from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

from tests.commands import Recsys, recsys_process
from tests.flow.test_reembed import SHOP, many
from tests.servers import RedisServer, wait_until


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shop(recsys: Recsys) -> Recsys:
    return recsys.stock(SHOP)


def lists(file: str = "neighbors.jsonl") -> dict[str, list[tuple[str, float]]]:
    found = [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]
    return {
        f["product_id"]: [(n["product_id"], round(n["score"], 5)) for n in f["neighbors"]]
        for f in found
    }


def similar(recsys: Recsys, product_id: str, k: int = 10) -> list[tuple[str, float]]:
    found: dict[str, Any] = recsys("similar", product_id, "--limit", k, "--json").json
    return [(n["product_id"], round(n["similarity_score"], 5)) for n in found["neighbors"]]


def test_every_product_has_the_neighbors_that_similar_shows(shop: Recsys) -> None:
    done = shop("neighbors", "export", "--json").json
    assert (done["products"], done["taken_over"], done["generation"]) == (152, 0, 1)
    found = lists()
    assert len(found) == 152
    for product_id in ("prod-101", "prod-123", "prod-150"):
        assert found[product_id] == similar(shop, product_id)
    shop("neighbors", "export", "--exact", "-o", "exact.jsonl")
    exact = lists("exact.jsonl")
    for product_id, neighbors in exact.items():
        scores = [score for _, score in found[product_id]]
        assert [score for _, score in neighbors] == pytest.approx(scores, abs=2e-5)
    assert sorted(path.name for path in Path().glob("*.jsonl*")) == [
        "exact.jsonl",
        "neighbors.jsonl",
    ]


def test_each_format_says_the_same(shop: Recsys) -> None:
    shop("product", "put", 'a,"b" c', "--name", "Gooseneck kettle, odd id")
    shop("consume", "--drain")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        shop("neighbors", "export", "-o", name, "-k", 3)
    rows = [
        (product_id, rank, other, score)
        for product_id, neighbors in lists("a.jsonl").items()
        for rank, (other, score) in enumerate(neighbors, start=1)
    ]
    with Path("a.csv").open(encoding="utf-8", newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["product_id", "rank", "neighbor_id", "score"]
    assert [(i, int(r), n, round(float(s), 5)) for i, r, n, s in found] == rows
    table = pq.read_table("a.parquet").to_pydict()
    assert table["product_id"] == [row[0] for row in rows]
    assert table["neighbor_id"] == [row[2] for row in rows]
    assert [round(s, 5) for s in table["score"]] == [row[3] for row in rows]
    assert len(rows) == 153 * 3


def test_more_neighbors_than_there_are_products(recsys: Recsys, tmp_path: Path) -> None:
    recsys.stock(many(tmp_path, 5))
    recsys("neighbors", "export", "-k", 100, "--workers", 4)
    assert [len(found) for found in lists().values()] == [4] * 5


def test_workers_make_no_difference(recsys: Recsys, tmp_path: Path) -> None:
    recsys.stock(many(tmp_path, 1500), batch_size=1500)
    for workers in (1, 4):
        recsys("neighbors", "export", "--workers", workers, "-o", f"{workers}.jsonl")
    assert Path("1.jsonl").read_bytes() == Path("4.jsonl").read_bytes()


def test_killed_it_goes_on_where_it_was(recsys: Recsys, tmp_path: Path) -> None:
    recsys.stock(many(tmp_path, 6000), batch_size=6000)
    part = Path("neighbors.jsonl.part")
    process = recsys_process("neighbors", "export", "--workers", 1)
    wait_until(lambda: part.exists() and part.stat().st_size > 50_000, 30, "some are written")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not Path("neighbors.jsonl").exists()
    with part.open("ab") as file:
        file.write(b'{"product_id": "torn')

    done = recsys("neighbors", "export", "--json").json

    assert done["taken_over"] > 0
    assert done["taken_over"] + done["products"] == 6000
    assert len(lists()) == 6000
    assert not part.exists()


def test_what_another_generation_began_is_not_mixed_in(shop: Recsys) -> None:
    part = Path("neighbors.jsonl.part")
    shop("neighbors", "export")
    lines = Path("neighbors.jsonl").read_bytes().splitlines(keepends=True)
    header = {
        "recsys_neighbors": 1,
        "index": "product:vectors",
        "generation": 1,
        "model_version": "",
        "k": 10,
        "exact": False,
    }
    begun = json.dumps(header, separators=(",", ":")).encode() + b"\n" + b"".join(lines[:50])
    part.write_bytes(begun)
    assert shop("neighbors", "export", "--json").json["taken_over"] == 50
    part.write_bytes(begun)
    shop("reembed")
    assert shop("neighbors", "export", "--json").json["taken_over"] == 0


def test_wrong_usage_is_one_sentence(shop: Recsys) -> None:
    for arguments, said in (
        (("-o", "a.xml"), "of no known format"),
        (("-o", "a.csv", "--format", "redis"), "takes no --output"),
        (("-o", "nowhere/a.csv"), "cannot write nowhere/a.csv: No such file or directory"),
        (("-o", "/dev/null", "--format", "csv"), "cannot write /dev/null: it is no regular file"),
    ):
        assert said in shop("neighbors", "export", *arguments, exits=2).err


def test_with_nothing_embedded_it_says_so(recsys: Recsys) -> None:
    assert "nothing is embedded" in recsys("neighbors", "export", exits=4).err
    assert not list(Path().glob("neighbors*"))


def test_a_shop_reads_them_with_one_get(
    redis_server: RedisServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    recsys = recsys_embedded.stock(SHOP)
    recsys("neighbors", "export", "--format", "redis")
    with redis.Redis.from_url(redis_server.url) as client:

        def got(product_id: str) -> Any:
            raw = client.get(f"product:neighbors:{product_id}")
            return json.loads(raw) if raw else None

        first = got("prod-123")
        assert [(n["product_id"], round(n["score"], 5)) for n in first["neighbors"]] == similar(
            recsys, "prod-123"
        )
        assert first["generation"] == 1
        recsys("product", "rm", "prod-123")
        recsys("consume", "--drain")
        # As if a run had been killed after two products.
        client.hdel("product:neighbors", "finished_at")
        done = recsys("neighbors", "export", "--format", "redis", "--json").json
        assert (done["taken_over"], done["products"]) == (151, 0)
        assert got("prod-123") is None, "the product is gone"
        again = recsys("neighbors", "export", "--format", "redis", "--json").json
        assert (again["taken_over"], again["products"]) == (0, 151)
        assert got("prod-101")["run"] != first["run"]


def test_without_redis_that_is_refused(recsys_embedded: Recsys) -> None:
    recsys_embedded.stock(SHOP)
    refused = recsys_embedded("neighbors", "export", "--format", "redis", exits=2).err
    assert "need Redis" in refused
