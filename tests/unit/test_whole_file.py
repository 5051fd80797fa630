"""A file is whole or not there, and what is no file is left as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys_cli.pipeline.whole_file import whole_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("old")
    return file


def test_it_takes_the_place_of_the_old(file: Path) -> None:
    with whole_file(file) as unfinished:
        unfinished.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


def test_what_fails_leaves_the_old(file: Path) -> None:
    with pytest.raises(UnicodeEncodeError), whole_file(file) as unfinished:
        unfinished.write_text("n\xe9", encoding="ascii")
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


def test_a_link_to_itself_is_no_file(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(link)
    with pytest.raises(OSError, match="symbolic links"), whole_file(link):
        pass
    assert link.is_symlink()


def test_a_link_stays_one(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with whole_file(link) as unfinished:
        unfinished.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_a_pipe_or_a_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match="no regular file"), whole_file(tmp_path / name):
            pass
    assert (tmp_path / "pipe").is_fifo()
