"""Embedding models as files, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Recsys

HALVES = (
    "id,name\n1,Steel kettle\n2,Glass teapot\n",
    "id,name\n3,Wool blanket\n4,Oak table\n5,Cotton towel\n",
)


@pytest.fixture
def halves(tmp_path: Path) -> list[Path]:
    feeds = [tmp_path / "first.csv", tmp_path / "second.csv"]
    for feed, rows in zip(feeds, HALVES, strict=True):
        feed.write_text(rows)
    return feeds


def test_parts_fitted_apart_merge_into_the_model_of_the_whole(
    recsys: Recsys, halves: list[Path], tmp_path: Path
) -> None:
    parts = [path.with_suffix(".model") for path in halves]
    for feed, part in zip(halves, parts, strict=True):
        recsys("model", "fit", str(feed), "-o", str(part))
    merged, whole = tmp_path / "merged.model", tmp_path / "whole.model"
    recsys("model", "merge", *map(str, parts), "-o", str(merged))
    recsys("model", "fit", *map(str, halves), "-o", str(whole))

    assert merged.read_bytes() == whole.read_bytes()
    info = recsys("model", "info", str(merged), "--json").json
    assert (info["kind"], info["products"]) == ("tfidf", 5)
    assert info["size_bytes"] == merged.stat().st_size


def test_the_model_in_use_is_exported_and_described(
    recsys: Recsys, halves: list[Path], tmp_path: Path
) -> None:
    recsys("model", "info", exits=4)
    recsys.stock(*halves)
    exported, fitted = tmp_path / "exported.model", tmp_path / "fitted.model"
    recsys("model", "export", "-o", str(exported))
    recsys("model", "fit", "--from-catalog", "-o", str(fitted))
    assert exported.read_bytes() == fitted.read_bytes()
    in_use = recsys("model", "info", "--json").json
    assert in_use == recsys("model", "info", str(exported), "--json").json
    assert recsys("index", "info", "--json").json["model_versions"] == [in_use["version"]]
    (listed,) = recsys("model", "list", "--json").json_lines
    assert (listed["version"], listed["generations"]) == (in_use["version"], [1])


def test_rows_that_are_no_products_are_left_out_and_said(
    recsys_embedded: Recsys, tmp_path: Path
) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("id,name\n1,Lamp\n,Nameless\n")
    done = recsys_embedded("model", "fit", str(feed), "-o", str(tmp_path / "a.model"), exits=3)
    assert "left out 1 row" in done.err


@pytest.mark.parametrize(
    ("arguments", "said", "exits"),
    [
        (["fit", "-o", "a.model"], "give product files, or --from-catalog", 2),
        (["info", "missing.model"], "cannot read the model missing.model", 1),
        (["export", "-o", "no/such/folder/a.model"], "there is no embedding model yet", 4),
        (["merge", "{feed}", "-o", "a.model"], "the embedding model is unusable", 1),
        (["fit", "{feed}", "-o", "/no/such/folder/a.model"], "cannot write the model", 1),
        (["fit", "{feed}", "-o", "/dev/null"], "/dev/null: it is no regular file", 1),
    ],
)
def test_what_cannot_be_is_one_sentence(
    recsys_embedded: Recsys, halves: list[Path], arguments: list[str], said: str, exits: int
) -> None:
    filled = [argument.replace("{feed}", str(halves[0])) for argument in arguments]
    assert said in " ".join(recsys_embedded("model", *filled, exits=exits).err.split())
