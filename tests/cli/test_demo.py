from __future__ import annotations

from pathlib import Path

from tests.commands import Recsys


def test_a_demo_throws_away_the_last_demo_and_nothing_else(
    recsys_embedded: Recsys, tmp_path: Path
) -> None:
    for _ in range(2):
        assert "created\t152" in recsys_embedded("demo", "--home", tmp_path / "demo").out
    recsys_embedded("product", "put", "p1", "--name", "Lamp")

    refused = recsys_embedded("demo", "--home", tmp_path / "home", exits=2)

    assert "recsys.db is not of a demo" in refused.err
    assert "Lamp" in recsys_embedded("product", "show", "p1").out
