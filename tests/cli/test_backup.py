"""Out of one backend and into another, with the same answers."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys, recsys_process
from tests.flow.test_reembed import SHOP, UPDATE, many
from tests.servers import RedisServer, wait_until


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["embedded", "redis"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Flags of an empty backend to restore into."""
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return ["--redis", server.url]
    (tmp_path / "other").mkdir()
    return []


def scores(recsys: Recsys, *flags: str) -> dict[str, list[float]]:
    """The scores of the neighbors of every product."""
    recsys("neighbors", "export", "-o", "all.jsonl", "--exact", *flags)
    found = [json.loads(line) for line in Path("all.jsonl").read_text("utf-8").splitlines()]
    return {f["product_id"]: [n["score"] for n in f["neighbors"]] for f in found}


def answers(recsys: Recsys, *flags: str) -> dict[str, Any]:
    """What the scores shall be elsewhere: the same, but for the last bits of float32."""
    return {i: pytest.approx(found, abs=1e-5) for i, found in scores(recsys, *flags).items()}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_restored_it_answers_the_same(
    recsys_embedded: Recsys,
    target: list[str],
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    recsys = recsys_embedded.stock(SHOP, UPDATE)
    recsys("product", "put", "wordless", "--name", "!!!")
    recsys("product", "rm", "prod-150")
    recsys("consume", "--drain")
    before = answers(recsys)
    version = recsys("model", "info", "--json").json["version"]
    assert recsys("export", f"shop.{form}", "--json").json["products"] == 154

    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "other"))
    done = recsys("restore", f"shop.{form}", "--json", *target).json

    assert (done["products"], done["unchanged"], done["vectors"]) == (154, 0, 153)
    assert before == scores(recsys, *target)
    assert recsys("model", "info", "--json", *target).json["version"] == version
    assert recsys("doctor", "--json", *target).json["findings"] == []
    said = recsys("consume", "--drain", *target).err
    assert "embedded 0" in said
    recsys("product", "update", "prod-101", "--name", "A camping tent", *target)
    assert "embedded 1" in recsys("consume", "--drain", *target).err
    shown = recsys("product", "show", "prod-101", "--json", *target).json
    assert shown["name"] == "A camping tent", "what comes later wins"
    assert list(tmp_path.glob("*.part")) == []


def test_out_of_redis_as_well(
    redis_server: RedisServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    recsys = recsys_embedded.stock(SHOP)
    before = answers(recsys)
    recsys("export", "shop.jsonl")
    monkeypatch.delenv("REDIS_URL")
    recsys("restore", "shop.jsonl")
    assert before == scores(recsys)
    recsys("product", "update", "prod-101", "--name", "A camping tent")
    recsys("consume", "--drain")
    assert recsys("product", "show", "prod-101", "--json").json["name"] == "A camping tent"


def test_promoted_it_answers_the_same(redis_server: RedisServer, recsys_embedded: Recsys) -> None:
    recsys = recsys_embedded
    recsys("index", "create", "--attribute", "brand", "--m", 8)
    recsys.stock(SHOP)
    before = answers(recsys)
    to = ("--redis", redis_server.url)

    done = recsys("promote", "--to", redis_server.url, "--json")

    assert (done.json["products"], done.json["vectors"]) == (152, 152)
    assert "embedded file" in done.err
    assert "Redis at " in done.err
    assert before == scores(recsys, *to)
    info = recsys("index", "info", "--json", *to).json
    assert (info["attributes"], info["parameters"]["m"]) == (["brand"], 8)
    assert "embedded 0" in recsys("consume", "--drain", *to).err
    assert "is not empty" in recsys("promote", "--to", redis_server.url, exits=2).err
    again = recsys("promote", "--to", redis_server.url, "--replace", "--json").json
    assert again["unchanged"] == 152
    assert "already is" in recsys("promote", "--to", redis_server.url, *to, exits=2).err


@pytest.mark.real_data
def test_a_real_catalogue_promoted_answers_the_same(
    redis_server: RedisServer, recsys_embedded: Recsys, real_data: Path
) -> None:
    recsys = recsys_embedded.stock(real_data / "abt_buy" / "abt.csv", batch_size=500)
    before = answers(recsys)
    recsys("promote", "--to", redis_server.url)
    assert before == scores(recsys, "--redis", redis_server.url)
    for product_id in list(before)[::100]:
        found = [
            [
                n["similarity_score"]
                for n in recsys("similar", product_id, "--json", *flags).json["neighbors"]
            ]
            for flags in ([], ["--redis", redis_server.url])
        ]
        assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_what_waits_at_the_source_is_embedded_at_the_target(
    redis_server: RedisServer, recsys_embedded: Recsys
) -> None:
    recsys = recsys_embedded.stock(SHOP)
    recsys("product", "update", "prod-101", "--name", "A camping tent")
    done = recsys("promote", "--to", redis_server.url, "--json")
    assert done.json["vectors"] == 151
    assert "1 event waited at the source" in done.err
    to = ("--redis", redis_server.url)
    assert "embedded 1" in recsys("consume", "--drain", *to).err
    assert recsys("doctor", "--json", *to).json["findings"] == []


def test_models_are_not_mixed(recsys: Recsys, tmp_path: Path) -> None:
    recsys.stock(SHOP)
    recsys("export", "shop.jsonl")
    with Backends(load()) as opened:
        opened.get_vector_store().drop_index(embeddings=True)
    feed = tmp_path / "more.csv"
    feed.write_text("id,name\nx,Something else entirely\n")
    recsys.stock(feed)
    recsys("reembed")
    version = recsys("model", "info", "--json").json["version"]
    done = recsys("restore", "shop.jsonl", "--replace", "--json")
    assert done.json["vectors"] == 0
    assert "another model is in use here" in done.err
    recsys("consume", "--drain")
    assert recsys("index", "info", "--json").json["model_versions"] == [version]


def test_killed_it_is_run_again(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recsys = recsys_embedded.stock(many(tmp_path, 6000), batch_size=6000)
    before = answers(recsys)
    recsys("export", "shop.jsonl")
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "other"))
    process = recsys_process("restore", "shop.jsonl")
    with Backends(load()) as opened:
        catalog = opened.get_catalog()
        vectors = opened.get_vector_store()
        wait_until(lambda: (i := vectors.info()) and i.documents, 30, "some are restored")
        assert next(catalog.products(), None) is not None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "--replace" in recsys("restore", "shop.jsonl", exits=2).err

    done = recsys("restore", "shop.jsonl", "--replace", "--json").json

    assert done["unchanged"] > 0
    assert done["vectors"] == 6000
    assert before == scores(recsys)


def test_damaged_files_are_one_sentence_and_restore_nothing(recsys_embedded: Recsys) -> None:
    recsys = recsys_embedded.stock(SHOP)
    recsys("export", "shop.jsonl")
    recsys("export", "shop.parquet")
    whole = Path("shop.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    for raw, said in (
        (b"", "it is empty"),
        (b"id,name\n1,Lamp\n", "line 1"),
        (whole[: len(whole) // 2], "no whole backup"),
        (b"".join(lines[:-1]), "cut off after 152 products"),
        (b"".join(lines[1:]), "line 1 is a"),
        (whole.replace(b'"recsys_backup":1', b'"recsys_backup":9'), "version 9"),
        (lines[0] + lines[1][:80] + b"\xff\xfe" + lines[1][82:], "line 2"),
    ):
        Path("bad.jsonl").write_bytes(raw)
        recsys("index", "drop", "--embeddings", "--yes", exits=None)
        assert said in recsys("restore", "bad.jsonl", "--replace", exits=1).err
    Path("bad.parquet").write_bytes(Path("shop.parquet").read_bytes()[:-100])
    assert "no whole backup" in recsys("restore", "bad.parquet", "--replace", exits=1).err
    assert "cannot read" in recsys("restore", "nothing.jsonl", exits=1).err
    assert "no known format" in recsys("restore", "shop.tar", exits=2).err
    assert "cannot write" in recsys("export", "nowhere/shop.jsonl", exits=1).err
    to_device = recsys("export", "/dev/null", "--format", "jsonl", exits=1)
    assert "cannot write /dev/null: it is no regular file" in to_device.err


def test_a_vector_of_another_text_is_not_taken(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recsys = recsys_embedded.stock(SHOP)
    recsys("export", "shop.jsonl")
    text = Path("shop.jsonl").read_text("utf-8")
    name = recsys("product", "show", "prod-101", "--json").json["name"]
    Path("shop.jsonl").write_text(text.replace(name, "A camping tent"), "utf-8")
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "other"))
    assert recsys("restore", "shop.jsonl", "--json").json["vectors"] == 151
    assert "embedded 1" in recsys("consume", "--drain").err


def test_a_vector_that_is_none_is_refused(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recsys = recsys_embedded.stock(SHOP)
    recsys("export", "shop.jsonl")
    records = [json.loads(line) for line in Path("shop.jsonl").read_text().splitlines()]
    records[5]["vector"] = records[5]["vector"][: len(records[5]["vector"]) // 2 // 4 * 4]
    Path("bad.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "other"))
    refused = recsys("restore", "bad.jsonl", exits=1).err
    assert records[5]["product_id"] in refused
    assert "is not one of 384 numbers" in refused
    assert recsys("doctor", exits=4).exit_code == 4, "nothing was restored"
    assert "--to is empty" in recsys("promote", "--to", "", exits=2).err


def test_secrets_of_the_target_are_not_printed(
    redis_server: RedisServer, recsys_embedded: Recsys
) -> None:
    recsys = recsys_embedded.stock(SHOP)
    url = redis_server.url.replace("redis://", "redis://default:hunter2@")
    said = recsys("promote", "--to", url, exits=None)
    assert "hunter2" not in said.out + said.err
