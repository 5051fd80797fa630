"""recsys health: one part down, and the others answer."""

from __future__ import annotations

import pytest

from tests.commands import Recsys
from tests.servers import free_port


@pytest.fixture
def vectors_down(recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch) -> Recsys:
    """A shop on the embedded file, with its vectors on a Redis that does not run."""
    monkeypatch.setenv("REDIS_PORT", str(free_port()))
    monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "embedded")
    return recsys_embedded


def test_the_parts_that_answer_are_shown_beside_the_one_that_does_not(
    vectors_down: Recsys,
) -> None:
    result = vectors_down("health", exits=5)
    _, *rows = [line.split("\t") for line in result.out.splitlines()]
    assert [row[0] for row in rows] == ["events", "catalog", "vectors"]
    assert [row[2].split()[:1] for row in rows] == [["SQLite"], ["SQLite"], []]
    assert f"error: {rows[2][3]}\n" in result.err
    assert "does not answer" in rows[2][3]


def test_as_json(vectors_down: Recsys) -> None:
    events, _, vectors = vectors_down("health", "--json", exits=5).json_lines
    assert events["version"].startswith("SQLite")
    assert "does not answer" in vectors["details"]


def test_what_all_parts_have_to_say_is_said_once(
    vectors_down: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "redis")
    result = vectors_down("health", exits=5)
    assert len(result.out.splitlines()) == 4
    assert result.err.count("error: ") == 1
