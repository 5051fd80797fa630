"""The embedded file itself: how it comes into being, its log, and what others leave around it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_cli.connections import sqlite as sqlite_module
from recsys_cli.connections.sqlite import EmbeddedFile
from tests.commands import recsys_process

# The superuser may write anywhere, unless this right is taken away.
AS_ANYONE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] * (os.geteuid() == 0)

PUT = "INSERT OR REPLACE INTO products (id, state) VALUES (?, ?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recsys.db"


@pytest.fixture
def file(path: Path) -> Iterator[EmbeddedFile]:
    file = EmbeddedFile(path)
    yield file
    file.close()


def put(file: EmbeddedFile, *ids: str) -> None:
    with file.transaction() as connection:
        connection.executemany(PUT, [(i, b"{}") for i in ids])


def ids(path: Path) -> set[str]:
    file = EmbeddedFile(path)
    try:
        with file.reading() as connection:
            return {i for (i,) in connection.execute("SELECT id FROM products")}
    finally:
        file.close()


def test_processes_that_make_it_at_the_same_moment_all_get_it(tmp_path: Path, path: Path) -> None:
    started = [recsys_process("health", env={"RECSYS_HOME": str(tmp_path)}) for _ in range(6)]
    for process in started:
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert "embedded file" in out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_process_killed_while_it_made_the_file_leaves_what_others_can_finish(
    file: EmbeddedFile, path: Path
) -> None:
    put(file, "a")
    file.close()
    with sqlite3.connect(path) as connection:
        # As far as it had come: the schema is there, the log is not.
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    connection.close()
    put(file, "b")
    with file.reading() as lent:
        assert lent.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ids(path) == {"a", "b"}


def test_the_first_bytes_say_whose_it_is_before_the_log_is_written_back(
    file: EmbeddedFile, path: Path
) -> None:
    put(file, "a")
    assert path.read_bytes()[68:72] == b"recs"


def test_readers_that_overlap_do_not_let_the_log_grow(
    file: EmbeddedFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "LOG_BYTES", 1 << 18)
    writer = EmbeddedFile(path)
    longest = 0
    with always_read(file):
        for _ in range(100):
            put(writer, *(f"p{n}" for n in range(1000)))
            longest = max(longest, path.with_name("recsys.db-wal").stat().st_size)
    writer.close()
    assert longest < 1 << 20


@contextlib.contextmanager
def always_read(file: EmbeddedFile) -> Iterator[None]:
    """Have two readers of whom each stays until the other one has begun anew."""
    over = threading.Event()
    begun = threading.Semaphore(0), threading.Semaphore(0)

    def read(mine: threading.Semaphore, other: threading.Semaphore) -> None:
        while not over.is_set():
            with file.reading() as connection:
                connection.execute("SELECT count(*) FROM products").fetchone()
                mine.release()
                other.acquire(timeout=5)

    one = threading.Thread(target=read, args=begun)
    other = threading.Thread(target=read, args=begun[::-1])
    one.start()
    begun[0].acquire(timeout=5)
    other.start()
    yield
    over.set()
    for semaphore in begun:
        semaphore.release(2)
    one.join()
    other.join()


def test_opening_it_again_does_not_drop_the_lock_that_this_process_holds(
    file: EmbeddedFile, path: Path
) -> None:
    put(file, "a")
    assert ids(path) == {"a"}
    # Another process that believed it were the last to use the file would delete its log.
    assert ids_seen_by_another_process(path) == {"a"}
    put(file, "b")
    assert path.with_name("recsys.db-wal").exists()
    assert ids_seen_by_another_process(path) == {"a", "b"}


def ids_seen_by_another_process(path: Path) -> set[str]:
    program = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(*[i for (i,) in connection.execute("SELECT id FROM products")])
connection.close()
"""
    command = [sys.executable, "-c", program, str(path)]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def left_behind(file: EmbeddedFile, folder: Path) -> Path:
    """Return a copy of what a process that is killed now leaves behind."""
    folder.mkdir()
    for part in file.path.parent.glob("recsys.db*"):
        shutil.copy(part, folder)
    return folder / "recsys.db"


def test_after_a_kill_the_log_is_applied(file: EmbeddedFile, tmp_path: Path) -> None:
    put(file, "a")
    copy = left_behind(file, tmp_path / "copy")
    assert copy.with_name("recsys.db-wal").stat().st_size > 0
    assert ids(copy) == {"a"}


def test_without_the_index_of_the_log_it_is_made_again(file: EmbeddedFile, tmp_path: Path) -> None:
    put(file, "a")
    copy = left_behind(file, tmp_path / "copy")
    copy.with_name("recsys.db-shm").unlink()
    assert ids(copy) == {"a"}


def test_without_the_log_it_is_as_it_was_before(file: EmbeddedFile, tmp_path: Path) -> None:
    put(file, "a")
    file.close()
    put(file, "b")
    copy = left_behind(file, tmp_path / "copy")
    for name in ("recsys.db-wal", "recsys.db-shm"):
        copy.with_name(name).unlink()
    assert ids(copy) == {"a"}


def test_the_log_of_a_file_that_is_gone_is_not_applied_to_a_new_one(
    file: EmbeddedFile, tmp_path: Path
) -> None:
    put(file, "a")
    copy = left_behind(file, tmp_path / "copy")
    copy.unlink()
    assert ids(copy) == set()


@pytest.mark.parametrize(
    ("mode_of_folder", "mode_of_file"), [(0o500, 0o600), (0o700, 0o400), (0o500, 0o400)]
)
def test_where_nothing_may_be_written_it_says_so(
    file: EmbeddedFile, path: Path, tmp_path: Path, mode_of_folder: int, mode_of_file: int
) -> None:
    put(file, "a")
    file.close()
    path.chmod(mode_of_file)
    tmp_path.chmod(mode_of_folder)
    before = path.read_bytes()
    try:
        process = recsys_process(
            *("product", "put", "b", "--name", "Lamp"),
            env={"RECSYS_HOME": str(tmp_path)},
            prefix=AS_ANYONE,
        )
        _, err = process.communicate(timeout=20)
    finally:
        tmp_path.chmod(0o700)
    assert process.returncode == 5
    error, hint = err.splitlines()[-2:]
    assert error.startswith("error: ")
    assert str(path) in error
    assert hint.endswith("set RECSYS_HOME to a folder that you may write to")
    assert path.read_bytes() == before
