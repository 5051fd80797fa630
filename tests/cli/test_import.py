from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.commands import Recsys
from tests.servers import RedisServer

HEADER = "id,name,price\n"


def feed(folder: Path, *rows: str, name: str = "feed.csv") -> Path:
    path = folder / name
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def length(recsys: Recsys) -> int:
    return int(recsys("lag", "--json").json["length"])


def test_one_table_at_the_end(recsys: Recsys, tmp_path: Path) -> None:
    out = recsys("import", feed(tmp_path, "a,Lamp,1", "b,Desk,2")).out
    counts = dict(line.split("\t") for line in out.splitlines()[1:])
    assert list(counts) == [
        "read",
        "created",
        "updated",
        "deleted",
        "unchanged",
        "repeated",
        "rejected",
        "seconds",
        "events per second",
    ]
    assert (counts["read"], counts["created"]) == ("2", "2")


def test_bad_rows_are_rejected_and_the_others_land(recsys: Recsys, tmp_path: Path) -> None:
    path = feed(tmp_path, "a,Lamp,1", ",Nameless id,2", "c,Desk,cheap", "d,,4", "e,Chair,5")
    result = recsys("import", path, "--json", exits=3)
    assert (result.json["created"], result.json["rejected"]) == (2, 3)
    assert f"rejected: {path}, line 3: no id" in result.err
    assert "line 4: price" in result.err
    assert "'cheap'" in result.err
    assert "line 5: no text" in result.err


def test_rejected_rows_can_be_mended_and_imported_again(recsys: Recsys, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    recsys("import", feed(tmp_path, "a,Lamp,cheap"), "--rejects", rejects, exits=1)
    assert "cheap" in rejects.read_text()

    rejects.write_text(rejects.read_text().replace('"cheap"', '"19.99"'))
    assert recsys("import", rejects, "--json").json["created"] == 1
    shown = recsys("product", "show", "a", "--json").json
    assert (shown["name"], shown["price"], shown["attributes"]) == ("Lamp", 19.99, {})


def test_no_rejects_no_file(recsys_embedded: Recsys, tmp_path: Path) -> None:
    recsys_embedded("import", feed(tmp_path, "a,Lamp,1"), "--rejects", tmp_path / "rejects")
    assert not (tmp_path / "rejects").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_rejects_on_a_full_disk_are_one_sentence(recsys_embedded: Recsys, tmp_path: Path) -> None:
    path = feed(tmp_path, "a,Lamp,cheap", "b,Desk,2")
    result = recsys_embedded("import", path, "--rejects", "/dev/full", exits=1)
    assert "cannot write the rejects to /dev/full: No space left on device" in result.err


def test_strict_stops_at_the_first(recsys: Recsys, tmp_path: Path) -> None:
    path = feed(tmp_path, "a,Lamp,1", "b,Desk,cheap", "c,Chair,3")
    result = recsys("import", path, "--strict", "--json", exits=3)
    assert (result.json["created"], result.json["rejected"], result.json["read"]) == (1, 1, 2)
    recsys("product", "show", "c", exits=4)


@pytest.mark.parametrize(
    ("rows", "exits"),
    [(["a,Lamp,1"], 0), ([], 0), (["a,Lamp,1", ",x,1"], 3), ([",x,1"], 1)],
    ids=["all", "header only", "some", "none"],
)
def test_exit_codes(recsys_embedded: Recsys, tmp_path: Path, rows: list[str], exits: int) -> None:
    recsys_embedded("import", feed(tmp_path, *rows), exits=exits)


def test_a_missing_file_does_not_stop_the_others(recsys_embedded: Recsys, tmp_path: Path) -> None:
    result = recsys_embedded(
        "import", tmp_path / "absent.csv", feed(tmp_path, "a,Lamp,1"), "--json", exits=1
    )
    assert result.json["created"] == 1
    assert "absent.csv" in result.err


def test_the_last_of_a_repeated_id_wins(recsys: Recsys, tmp_path: Path) -> None:
    result = recsys("import", feed(tmp_path, "a,Lamp,1", "b,Desk,2", "a,Lamp,3"), "--json")
    assert result.json["repeated"] == 1
    assert "line 4: id 'a' was there before; the last one wins" in result.err
    assert recsys("product", "show", "a", "--json").json["price"] == 3.0


def test_a_repeated_id_far_apart_still_counts(recsys: Recsys, tmp_path: Path) -> None:
    rows = [f"p{number},Lamp {number},1" for number in range(2500)]
    result = recsys("import", feed(tmp_path, *rows, "p7,Lamp,9"), "--json")
    assert (result.json["repeated"], result.json["read"]) == (1, 2501)
    assert recsys("product", "show", "p7", "--json").json["price"] == 9.0


def test_dry_run_counts_and_changes_nothing(recsys: Recsys, tmp_path: Path) -> None:
    recsys("import", feed(tmp_path, "a,Lamp,1"))
    before = length(recsys)
    path = feed(tmp_path, "a,Lamp,2", "b,Desk,2")
    counts = recsys("import", path, "--dry-run", "--json").json
    assert (counts["created"], counts["updated"], counts["dry_run"]) == (1, 1, True)
    assert length(recsys) == before
    assert recsys("product", "show", "a", "--json").json["price"] == 1.0


def test_limit_reads_so_many_rows(recsys: Recsys, tmp_path: Path) -> None:
    one = feed(tmp_path, "a,Lamp,1", "b,Desk,2", name="one.csv")
    two = feed(tmp_path, "c,Chair,1", "d,Sofa,2", name="two.csv")
    assert recsys("import", one, two, "--limit", 3, "--json").json["created"] == 3
    recsys("product", "show", "d", exits=4)


def test_republish_sends_unchanged_rows_too(recsys: Recsys, tmp_path: Path) -> None:
    path = feed(tmp_path, "a,Lamp,1")
    recsys("import", path)
    before = length(recsys)
    recsys("import", path, "--republish")
    assert length(recsys) == before + 1


def test_a_column_that_the_feed_lacks_is_left_alone(recsys: Recsys, tmp_path: Path) -> None:
    recsys("import", feed(tmp_path, "a,Lamp,1"))
    other = tmp_path / "descriptions.csv"
    other.write_text("id,name,description\na,Lamp,Warm light\n")
    recsys("import", other)
    shown = recsys("product", "show", "a", "--json").json
    assert (shown["price"], shown["description"]) == (1.0, "Warm light")


def test_an_empty_cell_empties_the_field(recsys: Recsys, tmp_path: Path) -> None:
    recsys("import", feed(tmp_path, "a,Lamp,1"))
    assert recsys("import", feed(tmp_path, "a,Lamp,"), "--json").json["updated"] == 1
    assert recsys("product", "show", "a", "--json").json["price"] is None


def test_sync_keeps_products_whose_rows_were_rejected(recsys: Recsys, tmp_path: Path) -> None:
    recsys("import", feed(tmp_path, "a,Lamp,1", "b,Desk,2", "c,Chair,3"))
    bad = feed(tmp_path, "a,Lamp,cheap", "b,Desk,2")
    result = recsys("import", bad, "--sync", "--max-delete", "50%", "--json", exits=3)
    assert result.json["deleted"] == 1
    recsys("product", "show", "a")
    recsys("product", "show", "c", exits=4)


def test_sync_deletes_nothing_when_rows_cannot_be_told(recsys: Recsys, tmp_path: Path) -> None:
    recsys("import", feed(tmp_path, "a,Lamp,1", "b,Desk,2"))
    result = recsys(
        "import", feed(tmp_path, ",Lamp,1", "b,Desk,2"), "--sync", "--max-delete", 9, exits=3
    )
    assert "rejected rows without an id could be of any product" in result.err
    recsys("product", "show", "a")


def test_standard_input_and_gzip(
    recsys_embedded: Recsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "feed.gz"
    packed.write_bytes(gzip.compress(b"id\ttitle\na\tLamp\n"))
    with packed.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert recsys_embedded("import", "-", "--json").json["created"] == 1


def test_map_overrides_recognition(recsys_embedded: Recsys, tmp_path: Path) -> None:
    path = tmp_path / "feed.jsonl"
    path.write_text(json.dumps({"id": 1, "code": "x-1", "name": "Lampe", "label": "Lamp"}))
    recsys_embedded("import", path, "--map", "id=code,name=label")
    assert recsys_embedded("product", "show", "x-1", "--json").json["name"] == "Lamp"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--map", "id"], "--map"),
        (["--map", "colour=x"], "--map"),
        (["--encoding", "klingon"], "klingon"),
        (["--sync", "--limit", "3"], "--limit"),
        (["--sync", "--max-delete", "lots"], "--max-delete is 'lots'"),
    ],
)
def test_usage_errors_are_one_sentence(
    recsys_embedded: Recsys, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    result = recsys_embedded("import", feed(tmp_path, "a,Lamp,1"), *arguments, exits=2)
    assert sentence in result.err


def test_a_catalog_of_another_stream_is_told(
    recsys_embedded: Recsys,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Its positions are later than those of the stream, so nothing would ever change."""
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    recsys_embedded("import", feed(tmp_path, "a,Lamp,1"))
    monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "embedded")
    monkeypatch.setenv("CATALOG_TYPE", "redis")
    without = tmp_path / "without.csv"
    without.write_text("id,name\nb,Rug\n")
    for command in (
        ["product", "update", "a", "--price", 2],
        ["product", "put", "a", "--name", "Rug"],
        ["product", "rm", "a"],
        ["import", feed(tmp_path, "a,Lamp,3")],
        ["import", "--sync", "--max-delete", "100%", without],
    ):
        said = recsys_embedded(*command, exits=2).err
        assert "the catalog is of another stream: it has changes of 'a' that are later" in said
        assert "run the same command again" not in said
