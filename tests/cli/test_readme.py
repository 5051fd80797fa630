"""What the README says is what happens: its commands are run, its outputs compared."""

from __future__ import annotations

import re
import shutil
import subprocess
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


def test_the_lines_of_cron_do_their_work(tmp_path: Path) -> None:
    reader = readme.Reader(tmp_path / "shop", readme.SHOWN_REDIS)
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    shutil.copy(CHECKOUT / "sample_data" / "products.csv", feeds)
    (crontab,) = (b for b in readme.blocks(TEXT) if b.language == "crontab")
    commands = [line.split(maxsplit=5)[5] for line in crontab.body.splitlines()]
    assert [command.split()[1] for command in commands] == [
        *("import", "consume", "drift", "index", "neighbors"),
    ]
    for command in commands:
        said = reader.type(command.replace("/srv/feeds", str(feeds)))
        assert reader.exit_code == 0, said
    assert len((feeds / "neighbors.jsonl").read_text("utf-8").splitlines()) == 152


def test_the_units_of_systemd_do_their_work(tmp_path: Path) -> None:
    units = {
        Path(b.body.split()[1]).name: b.body for b in readme.blocks(TEXT) if b.language == "ini"
    }
    assert set(units) == {
        *("recsys-consume.service", "recsys-reembed.service", "recsys-reembed.timer"),
    }
    reader = readme.Reader(tmp_path / "shop", readme.SHOWN_REDIS)
    reader.type("recsys import sample_data/products.csv")
    started = {name: re.findall(r"^ExecStart=\S+/bin/(.*)$", u, re.M) for name, u in units.items()}
    (consume,), (reembed,) = (started[f"recsys-{name}.service"] for name in ("consume", "reembed"))
    # As systemd stops it: SIGTERM, and 143 is a success.
    reader.type(f"timeout --preserve-status 5 {consume}")
    assert reader.exit_code == 143
    assert "is not stale" in reader.type(reembed)
    assert reader.exit_code == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this system has no systemd")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    names = []
    for block in readme.blocks(TEXT):
        if block.language == "ini":
            names.append(tmp_path / Path(block.body.split()[1]).name)
            body = block.body.replace("/srv/recsys/.venv/bin/recsys", shutil.which("true") or "")
            names[-1].write_text(body)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, names)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_wrong_output_would_be_noticed(tmp_path: Path) -> None:
    assert readme.same("a 12.5 s", "a 99.1 s")
    assert not readme.same("processed 121", "processed 120")
    assert not readme.same("one line", "")
    assert tmp_path.is_dir()
