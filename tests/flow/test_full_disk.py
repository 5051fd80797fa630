"""A disk that fills up: one sentence, nothing lost, and all go on when there is room again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_cli.domain import FieldValue
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import recsys_process
from tests.disks import Disk, small_disk
from tests.servers import wait_until

ROWS = 5_000


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("RECSYS_HOME", str(disk.folder / "home"))
        yield disk


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    path = tmp_path / "feed.jsonl"
    path.write_text("\n".join(json.dumps({"id": i} | fields) for i, fields in lamps().items()))
    return path


def test_who_meets_a_full_disk_says_so_and_can_go_on_later(
    full_disk: Disk, feed: Path, tmp_path: Path
) -> None:
    full_disk.leave(0)
    for command in (["import", feed], ["consume", "--drain"], ["product", "put", "p", "--name=p"]):
        error, hint = run(full_disk, *command, exits=5).stderr.splitlines()[-2:]
        assert any(f"error: {c}" in error for c in full_disk.complaints), error
        assert "disk" in hint

    full_disk.leave(3 << 20)
    said = run(full_disk, "import", feed, exits=5).stderr
    assert "run the same command again" in said
    assert products(full_disk.copy(tmp_path / "then")).items() <= lamps().items()

    full_disk.free()
    run(full_disk, "import", feed)
    run(full_disk, "consume", "--drain", "--batch-size", "500")
    assert products(full_disk.copy(tmp_path / "later")) == lamps()


def test_a_consumer_waits_until_there_is_room(full_disk: Disk, feed: Path, tmp_path: Path) -> None:
    run(full_disk, "import", feed)
    consumer = recsys_process("consume", "--batch-size", 100, prefix=full_disk.prefix)
    try:
        wait_until(lambda: lag(full_disk) < ROWS, 20, "it has begun")
        full_disk.leave(0, consumer)
        wait_for_line(consumer, *full_disk.complaints)

        full_disk.free(consumer)
        wait_for_line(consumer, "the backend answers again")
        wait_until(lambda: lag(full_disk) == 0, 30, "it goes on by itself")
    finally:
        consumer.terminate()
        consumer.communicate(timeout=10)
    assert consumer.returncode == 143
    copy = full_disk.copy(tmp_path / "later")
    assert products(copy) == lamps()
    with Backends(load({"recsys_home": str(copy / "home")})) as opened:
        info, status = opened.get_vector_store().info(), opened.get_event_processor().status()
    assert info is not None
    assert (info.documents, status.pending, status.dead_letters) == (ROWS, 0, 0)


def lamps() -> dict[str, dict[str, FieldValue]]:
    words = "warm light for a small desk " * 10
    return {f"p{n}": {"name": f"Lamp {n}", "description": words.strip()} for n in range(ROWS)}


def run(disk: Disk, *arguments: object, exits: int = 0) -> subprocess.CompletedProcess[str]:
    process = recsys_process(*arguments, prefix=disk.prefix)
    out, err = process.communicate(timeout=60)
    assert process.returncode == exits, err
    assert "Traceback" not in err
    return subprocess.CompletedProcess(process.args, exits, out, err)


def lag(disk: Disk) -> int:
    return int(json.loads(run(disk, "lag", "--json").stdout)["lag"])


def wait_for_line(process: subprocess.Popen[str], *texts: str) -> None:
    """Read what the process says up to a line that has one of the texts."""
    assert process.stderr is not None
    if not any(text in line for line in process.stderr for text in texts):
        pytest.fail(f"it ended without saying {texts}")


def products(folder: Path) -> dict[str, dict[str, FieldValue]]:
    """Return what is in the file, which must be whole."""
    home = folder / "home"
    connection = sqlite3.connect(home / "recsys.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    with Backends(load({"recsys_home": str(home)})) as opened:
        return {product.id: product.to_fields() for product in opened.get_catalog().products()}
