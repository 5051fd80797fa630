"""The main job, told as a story: read these tests first.

Each runs on every combination of backends, through the command line alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys
from tests.shops import SHOPS

CATALOGUE = """\
id,name,description,category,price,brand
kettle-1,Gooseneck kettle 1 l,Pour-over kettle with a thin spout,Kitchen,59.00,Brewista
kettle-2,Gooseneck kettle 0.6 l,Small pour-over kettle with a thin spout,Kitchen,49.00,Brewista
kettle-3,Electric kettle 1.7 l,Fast electric kettle with auto-off,Kitchen,39.00,Heatwell
shoe-1,Trail running shoe,Grippy shoe for wet trails,Outdoor,119.00,Fellrun
shoe-2,Trail running shoe wide,Grippy shoe for wet trails in a wide fit,Outdoor,124.00,Fellrun
lamp-1,Desk lamp,Dimmable lamp with a warm light,Lighting,79.00,Lumen
"""

pytestmark = pytest.mark.parametrize("recsys", SHOPS, indirect=True)


def test_from_a_file_to_neighbors(recsys: Recsys, tmp_path: Path) -> None:
    feed = write(tmp_path, CATALOGUE)

    imported = recsys("import", feed, "--json").json
    assert (imported["read"], imported["created"], imported["rejected"]) == (6, 6, 0)

    consumed = recsys("consume", "--drain")
    assert "processed 6" in consumed.err

    answer = recsys("similar", "kettle-1", "-n", 2, "--json").json
    assert answer["product_id"] == "kettle-1"
    nearest = answer["neighbors"][0]
    assert nearest["product_id"] == "kettle-2"
    assert nearest["name"] == "Gooseneck kettle 0.6 l"
    assert nearest["category"] == "Kitchen"
    assert nearest["price"] == 49.0
    assert answer["neighbors"][1]["similarity_score"] < nearest["similarity_score"] < 1


def test_the_second_import_publishes_nothing(recsys: Recsys, tmp_path: Path) -> None:
    feed = write(tmp_path, CATALOGUE)
    recsys("import", feed)
    before = recsys("lag", "--json").json["length"]

    # No consumer has run yet: what was published is known all the same.
    again = recsys("import", feed, "--json").json

    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 6)
    assert recsys("lag", "--json").json["length"] == before


def test_a_changed_row_carries_only_what_changed(recsys: Recsys, tmp_path: Path) -> None:
    recsys("import", write(tmp_path, CATALOGUE))
    recsys("consume", "--drain")

    changed = recsys("import", write(tmp_path, CATALOGUE.replace("79.00", "69.00")), "--json").json
    assert (changed["updated"], changed["unchanged"]) == (1, 5)

    drained = recsys("consume", "--drain")
    with Backends(load()) as opened:
        is_written_whole = opened.get_vector_store().is_eventually_consistent
    if is_written_whole:
        assert "embedded 1" in drained.err, "nothing is built upon what a read has shown"
    else:
        assert "embedded 0" in drained.err, "a price is no text: nothing to embed again"
        assert "refreshed 1" in drained.err
    assert recsys("product", "show", "lamp-1", "--json").json["price"] == 69.0
    (lamp,) = recsys("similar", "--text", "desk lamp", "-n", 1, "--json").json["neighbors"]
    assert (lamp["product_id"], lamp["price"]) == ("lamp-1", 69.0)


def test_sync_deletes_what_the_feed_no_longer_has(recsys: Recsys, tmp_path: Path) -> None:
    recsys("import", write(tmp_path, CATALOGUE))
    recsys("consume", "--drain")
    shorter = write(tmp_path, "".join(CATALOGUE.splitlines(keepends=True)[:-1]))

    refused = recsys("import", shorter, "--sync", exits=3)
    assert "lacks 1 of 6 products (17%), and --max-delete is 10 %" in refused.err

    assert recsys("import", shorter, "--sync", "--max-delete", "20%", "--json").json["deleted"] == 1
    recsys("consume", "--drain")
    recsys("product", "show", "lamp-1", exits=4)
    everyone = recsys("similar", "--text", "desk lamp", "--json").json["neighbors"]
    assert "lamp-1" not in [neighbor["product_id"] for neighbor in everyone]


def test_unknown_and_not_embedded_yet_are_two_sentences(recsys: Recsys, tmp_path: Path) -> None:
    recsys("import", write(tmp_path, CATALOGUE))

    waiting = recsys("similar", "lamp-1", exits=4)
    assert "is in the catalog but not embedded yet" in waiting.err
    assert "recsys consume --drain" in waiting.err

    unknown = recsys("similar", "lamp-2", exits=4)
    assert "the catalog has no product 'lamp-2'" in unknown.err
    assert "did you mean lamp-1?" in unknown.err


def test_one_product_by_hand(recsys: Recsys) -> None:
    recsys("product", "put", "tea/1", "--name=Sencha", "--price", "€12,50", "--set", "origin=Uji")
    recsys("product", "update", "tea/1", "--description", "Green tea", "--unset", "origin")
    recsys("consume", "--drain")

    shown = recsys("product", "show", "tea/1", "--json").json
    assert shown == {
        "id": "tea/1",
        "name": "Sencha",
        "description": "Green tea",
        "category": "",
        "price": 12.5,
        "attributes": {},
    }
    recsys("product", "rm", "tea/1")
    recsys("product", "show", "tea/1", exits=4)
    recsys("product", "rm", "tea/1", exits=4)


def write(folder: Path, text: str) -> Path:
    path = folder / "catalogue.csv"
    path.write_text(text, encoding="utf-8")
    return path
