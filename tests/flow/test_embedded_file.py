"""Two importers and three consumers on one embedded file at once, killed or not: it stays whole."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.chaos.fleet import Fleet
from tests.chaos.reckoning import reckon
from tests.chaos.world import AUDIT, EmbeddedWorld
from tests.commands import Recsys, recsys_process
from tests.servers import wait_until

ROUNDS = 3
EACH = 500
"""Products in each feed; 300 of them are in both."""

Rows: TypeAlias = dict[str, dict[str, str | float]]


def names(turn: int) -> Rows:
    """One shop's products in this turn; two of three are as they were in the turn before."""
    ids = [f"both-{n}" for n in range(300)] + [f"named-{n}" for n in range(200)]
    return {
        i: {"name": f"Lamp {i} {changed(n, turn)}", "stock": str(changed(n, turn))}
        for n, i in enumerate(ids)
    }


def prices(turn: int) -> Rows:
    """Another's: other fields, so that whoever comes last, the outcome is known."""
    ids = [f"both-{n}" for n in range(300)] + [f"priced-{n}" for n in range(200)]
    return {
        i: {"description": f"Warm light {n} {changed(n, turn)}", "price": n + changed(n, turn) / 10}
        for n, i in enumerate(ids)
    }


def changed(number: int, turn: int) -> int:
    return turn - (turn - number) % 3


class Importer:
    """Imports one feed after the other, each as often as it takes."""

    def __init__(self, feeds: Sequence[Path], environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._feeds = list(feeds)
        self._process: subprocess.Popen[str] | None = None
        self.said = ""
        self.kills = 0

    def is_done(self) -> bool:
        """Go on with what is next; return whether the last feed is imported."""
        if self._process is not None and self._process.poll() is not None:
            self.said += self._process.communicate()[1]
            assert self._process.returncode in (0, -signal.SIGKILL), self.said
            if self._process.returncode == 0:
                del self._feeds[0]
            self._process = None
        if self._process is None and self._feeds:
            self._process = recsys_process("import", self._feeds[0], env=self._environment)
        return not self._feeds

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self.kills += 1


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedWorld:
    """The embedded file, with a group that keeps every event on the stream."""
    world = EmbeddedWorld(tmp_path / "home")
    monkeypatch.setenv("RECSYS_HOME", world.environment["RECSYS_HOME"])
    with Backends(load({"product_stream_group": AUDIT})) as opened:
        opened.get_event_processor().create_group()
    return world


@pytest.fixture
def fleet(world: EmbeddedWorld, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(3, world.environment, tmp_path)
    yield fleet
    fleet.kill()


@pytest.fixture
def importers(world: EmbeddedWorld, tmp_path: Path) -> Iterator[list[Importer]]:
    feeds = [
        [written(tmp_path / f"{shop.__name__}-{turn}.jsonl", shop(turn)) for turn in range(ROUNDS)]
        for shop in (names, prices)
    ]
    importers = [Importer(turns, world.environment) for turns in feeds]
    yield importers
    for importer in importers:
        importer.kill()


@pytest.mark.parametrize("kills", [0, 12], ids=["undisturbed", "killed"])
def test_two_importers_and_three_consumers(
    recsys_embedded: Recsys,
    world: EmbeddedWorld,
    fleet: Fleet,
    importers: list[Importer],
    tmp_path: Path,
    kills: int,
) -> None:
    recsys, chance = recsys_embedded, random.Random(kills)
    # Two creates of one product at the same moment: the later one would be the whole product.
    recsys("import", written(tmp_path / "both.jsonl", merged(names(0), prices(0))))

    def are_done() -> bool:
        fleet.supervise()
        return [importer.is_done() for importer in importers] == [True, True]

    for _ in range(kills):
        moment_s = time.monotonic() + chance.uniform(0.1, 0.7)
        wait_until(lambda at=moment_s: are_done() or time.monotonic() > at, 60, "the next kill")  # type: ignore[misc]
        if are_done() or chance.random() < 0.4:
            fleet.strike(signal.SIGKILL, chance)
        else:
            chance.choice(importers).kill()
    wait_until(are_done, 60, "both have imported all their feeds")
    wait_until(lambda: is_consumed(recsys, fleet), 60, "all of it is consumed")
    fleet.end()

    assert fleet.problems + fleet.alarms() == []
    said = "".join(importer.said for importer in importers)
    said += "".join(log.read_text() for log in tmp_path.glob("consumer-*.log"))
    assert "locked" not in said
    assert "trying again" not in said
    assert is_intact(tmp_path / "home" / "recsys.db")
    with Backends(load()) as opened:
        found = {product.id: product.to_fields() for product in opened.get_catalog().products()}
        assert found == merged(names(ROUNDS - 1), prices(ROUNDS - 1))
        assert list(reckon(world, opened, Counter())) == []
    for shop in (names, prices):
        again = recsys("import", tmp_path / f"{shop.__name__}-{ROUNDS - 1}.jsonl", "--json").json
        assert again["unchanged"] == EACH, "what is published is not published twice"
    if kills:
        assert sum(importer.kills for importer in importers) > 0


def written(path: Path, rows: Rows) -> Path:
    path.write_text("\n".join(json.dumps({"id": i} | fields) for i, fields in rows.items()))
    return path


def merged(one: Rows, other: Rows) -> Rows:
    return {i: one.get(i, {}) | other.get(i, {}) for i in one | other}


def is_consumed(recsys: Recsys, fleet: Fleet) -> bool:
    fleet.supervise()
    status = recsys("lag", "--json").json
    return (status["lag"], status["pending"]) == (0, 0)


def is_intact(path: Path) -> bool:
    connection = sqlite3.connect(path)
    (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return bool(verdict == "ok")
