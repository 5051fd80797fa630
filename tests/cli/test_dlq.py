"""The dead letters on the command line: found, counted, put back, dropped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psycopg
import pytest
import redis

from tests.cli.terminal import in_terminal, plain
from tests.commands import Recsys, recsys_process
from tests.servers import wait_until


def poisoned(recsys: Recsys, *data: str) -> None:
    """Put an event with each of these data on the stream, as another program might."""
    recsys("lag")
    entries = [
        {"event_type": "update", "product_id": f"p{number}", "timestamp": "now", "data": each}
        for number, each in enumerate(data)
    ]
    if url := os.environ.get("REDIS_URL"):
        with redis.Redis.from_url(url) as client:
            for entry in entries:
                client.xadd("product:updates", dict(entry))
        return
    if url := os.environ.get("SUPABASE_DB_URL"):
        recsys("product", "put", "x", "--name", "Lamp")
        with psycopg.connect(url) as postgres:
            postgres.execute(
                "SELECT pgmq.send_batch('product_updates', %s::jsonb[])",
                [[json.dumps(entry) for entry in entries]],
            )
        return
    import sqlite3

    recsys("product", "put", "x", "--name", "Lamp")
    connection = sqlite3.connect(Path(os.environ["RECSYS_HOME"]) / "recsys.db")
    connection.executemany(
        "INSERT INTO events (stream, event_type, product_id, timestamp, data) "
        "VALUES (1, 'update', ?, 'now', ?)",
        [(f"p{number}", each) for number, each in enumerate(data)],
    )
    connection.commit()
    connection.close()


@pytest.fixture
def letters(recsys: Recsys) -> list[str]:
    """The ids of four dead letters: three undecodable, one with a negative price."""
    poisoned(recsys, "{", '{"price": -1}', "[]", "nonsense")
    recsys("consume", "--drain", exits=3)
    return [letter["id"] for letter in recsys("dlq", "list", "--json").json_lines]


def test_without_any_it_says_so(recsys: Recsys) -> None:
    assert "no event was given up" in recsys("dlq", "list").err
    assert "no event was given up" in recsys("dlq", "summary").err
    assert "replayed 0 dead letters" in recsys("dlq", "replay", "--all").err
    assert "dropped 0 dead letters" in recsys("dlq", "purge", "--all", "--yes").err
    assert recsys("dlq", "list", "--json").out == ""


def test_list_shows_the_newest_first(recsys: Recsys, letters: list[str]) -> None:
    header, *rows = recsys("dlq", "list").out.splitlines()
    assert header.split("\t") == [*("id", "product_id", "cause", "failed", "error")]
    assert [row.split("\t")[:3] for row in rows] == [
        [letters[0], "p3", "undecodable"],
        [letters[1], "p2", "undecodable"],
        [letters[2], "p1", "invalid"],
        [letters[3], "p0", "undecodable"],
    ]
    assert "price is negative: -1" in rows[2]
    only = recsys("dlq", "list", "--cause", "invalid", "--json").json
    assert only["id"] == letters[2]
    cut = recsys("dlq", "list", "--count", 2)
    assert len(cut.out.splitlines()) == 3
    assert "the newest 2; --count shows more" in cut.err


def test_show_tells_all_of_one(recsys: Recsys, letters: list[str]) -> None:
    shown = recsys("dlq", "show", letters[2])
    for part in ("invalid", "price is negative: -1", '{"price": -1}', "p1", "update", "ago)"):
        assert part in shown.out
    as_json = recsys("dlq", "show", letters[2], "--json").json
    assert as_json["raw"]["data"] == '{"price": -1}'
    assert as_json["replays"] == 0
    for unknown in ("17", "0-0", "nonsense"):
        assert f"no dead letter '{unknown}'" in recsys("dlq", "show", unknown, exits=4).err


def test_summary_counts_by_cause(recsys: Recsys, letters: list[str]) -> None:
    most, least = recsys("dlq", "summary", "--json").json_lines
    assert (most["cause"], most["letters"], most["latest_id"]) == ("undecodable", 3, letters[0])
    assert (least["cause"], least["letters"]) == ("invalid", 1)
    assert "undecodable\t3\t" in recsys("dlq", "summary").out


def test_replay_takes_what_is_chosen_and_says_what_died_again(
    recsys: Recsys, letters: list[str]
) -> None:
    assert (
        "would replay 3 dead letters"
        in recsys("dlq", "replay", "--cause", "undecodable", "--dry-run").err
    )
    assert recsys("lag", "--json").json["dead_letters"] == 4, "a dry run changes nothing"

    assert "replayed 2 dead letters" in recsys("dlq", "replay", "--all", "--max", 2).err
    left = [letter["id"] for letter in recsys("dlq", "list", "--json").json_lines]
    assert left == letters[:2], "the oldest go first"

    said = recsys("consume", "--drain", exits=3).err
    assert "is a dead letter again, though replayed 1x (invalid): price is negative" in said
    again = recsys("dlq", "list", "--json").json_lines
    assert [letter["replays"] for letter in again] == [1, 1, 0, 0]
    assert "\tinvalid again\t" in recsys("dlq", "list").out
    assert "replayed 1 time, and dead again" in recsys("dlq", "show", again[0]["id"]).out
    assert "2 of them not for the first time" in recsys("dlq", "replay", "--all").err


def test_a_replay_that_is_killed_goes_on_where_it_was(recsys: Recsys) -> None:
    poisoned(recsys, *["{"] * 2000)
    recsys("consume", "--drain", "--batch-size", 2000, exits=3)

    def dead() -> int:
        return int(recsys("lag", "--json").json["dead_letters"])

    replay = recsys_process("dlq", "replay", "--all")
    wait_until(lambda: dead() < 2000, 20, "some are replayed")
    replay.kill()
    replay.communicate()
    left = dead()
    recsys("dlq", "replay", "--all")

    assert left > 0, "it was killed in the middle"
    status = recsys("lag", "--json").json
    assert (status["dead_letters"], status["lag"]) == (0, 2000), "each of them once"


def test_a_wrong_id_changes_nothing(recsys: Recsys, letters: list[str]) -> None:
    recsys("dlq", "replay", letters[0], "12345", exits=4)
    recsys("dlq", "purge", letters[0], "12345", "--yes", exits=4)
    assert recsys("lag", "--json").json["dead_letters"] == 4


def test_purge_drops_what_is_chosen(recsys: Recsys, letters: list[str]) -> None:
    assert "say --yes" in recsys("dlq", "purge", "--all", exits=2).err
    assert "dropped 1 dead letter" in recsys("dlq", "purge", letters[3], "--yes").err
    assert "dropped 1 dead letter" in recsys("dlq", "purge", "--cause", "invalid", "--yes").err
    assert "dropped 2 dead letters" in recsys("dlq", "purge", "--all", "--yes").err
    assert recsys("dlq", "list", "--json").out == ""


@pytest.mark.parametrize("choice", [(), ("1", "--all"), ("--all", "--cause", "invalid")])
def test_it_must_be_said_which_and_in_one_way(
    recsys_embedded: Recsys, choice: tuple[str, ...]
) -> None:
    for command in (("replay",), ("purge", "--yes")):
        said = recsys_embedded("dlq", *command, *choice, exits=2).err
        assert "say which dead letters: their ids, or --cause, or --all" in said


def test_an_oversized_event_keeps_its_beginning_and_cannot_be_replayed(recsys: Recsys) -> None:
    poisoned(recsys, json.dumps({"name": "x" * 2_100_000}))
    recsys("consume", "--drain", exits=3)
    letter = recsys("dlq", "list", "--json").json
    assert letter["cause"] == "oversized"
    assert len(letter["raw"]["data"]) == 10_000
    assert "cannot be replayed" in recsys("dlq", "replay", "--all", exits=3).err
    assert recsys("lag", "--json").json["dead_letters"] == 1


@pytest.mark.parametrize("width", [80, 160])
def test_the_tables_fit_a_terminal(letters: list[str], width: int) -> None:
    for command in (["list"], ["summary"], ["show", letters[0]]):
        _, *lines = plain(in_terminal(width, "dlq", *command))
        assert max(map(len, lines)) <= width
        assert any("undecodable" in line for line in lines)
