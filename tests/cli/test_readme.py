"""What the README says is what happens: its commands are run, its outputs compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import readme
from tests.readme import CHECKOUT, README
from tests.servers import RedisServer

TEXT = README.read_text("utf-8")


@pytest.mark.parametrize("section", readme.sections(TEXT))
def test_the_commands_do_what_is_shown(section: str, redis_server: RedisServer) -> None:
    for block, printed in readme.played(TEXT, section, redis_server.url).items():
        if block.language != "console":
            continue
        for step, now in zip(readme.steps(block.body), printed, strict=True):
            assert "Traceback" not in now
            if step.shown:
                assert readme.same(step.shown, now), f"{step.command}\n{now}"


def test_settings_and_help_are_those_of_the_program() -> None:
    assert readme.renewed(TEXT, {}) == TEXT, "make readme writes them again"


def test_every_setting_is_explained() -> None:
    table = TEXT.split("<!-- settings:")[1].split("<!-- /settings -->")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert rows
    assert [row[1] for row in rows if not row[3].strip()] == []


def test_the_two_commands_are_targets_and_ci_runs_the_second() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    assert "\ndemo:" in makefile
    assert "\ntest:" in makefile
    assert "make test" in (CHECKOUT / ".ci" / "run").read_text()
    assert "make demo" in TEXT
    assert "make test" in TEXT


def test_a_wrong_output_would_be_noticed(tmp_path: Path) -> None:
    assert readme.same("a 12.5 s", "a 99.1 s")
    assert not readme.same("processed 121", "processed 120")
    assert not readme.same("one line", "")
    assert tmp_path.is_dir()
