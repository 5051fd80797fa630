"""Streams that are closed or full, and readers that have gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import Recsys, recsys_process
from tests.flow.test_reembed import SHOP

COMMANDS = (("lag",), ("--help",), ("similar", "prod-101", "prod-102", "--json"), ("--version",))
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@pytest.fixture(autouse=True)
def shop(recsys_embedded: Recsys) -> Recsys:
    return recsys_embedded.stock(SHOP)


@contextmanager
def nobody_reads() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def run(*words: str, **streams: int) -> tuple[int, str]:
    command = [sys.executable, "-m", "recsys_cli", *words]
    asked = {"stderr": subprocess.PIPE, **streams}
    done = subprocess.run(command, text=True, check=False, **asked)  # type: ignore[call-overload]
    return done.returncode, done.stderr or ""


@every_command
def test_a_full_disk_is_one_sentence(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        exit_code, said = run(*words, stdout=full.fileno())
    assert exit_code == 1
    assert said.splitlines()[-1] == "error: cannot write the output: No space left on device"
    assert "Traceback" not in said


@every_command
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_has_had_enough(
    words: tuple[str, ...], unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with nobody_reads() as pipe:
        exit_code, said = run(*words, stdout=pipe)
        assert exit_code == 0
        assert len(said.splitlines()) <= 1, "the backend, at most"
        assert run(*words, stdout=pipe, stderr=pipe)[0] == 0


def test_what_was_found_is_told_by_the_exit_code_whether_or_not_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    with nobody_reads() as pipe:
        assert run("evaluate", "--by", "brand", "--fail-below", "recall@10=1", stdout=pipe)[0] == 3


@every_command
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_leads_nowhere(words: tuple[str, ...], closed: str) -> None:
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh")
    with recsys_process(*words, prefix=shell) as process:
        out, err = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert bool(out) == (">&-" not in closed.replace("2>&-", ""))


def test_a_closed_input_is_an_empty_one() -> None:
    shell = ("sh", "-c", 'exec "$@" <&-', "sh")
    with recsys_process("similar", "-", "--json", prefix=shell) as process:
        assert process.communicate()[0] == ""
    assert process.returncode == 0
