"""The short form of the bad night, and a check that its reckoning can fail.

The long form, 100 000 events and three seeds on each backend: ``python -m tests.chaos``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.driver import Night, Plan
from tests.chaos.nats_world import NatsWorld
from tests.chaos.world import EmbeddedWorld, RedisWorld, World

PLAN = Plan(
    seed=7,
    events=2_500,
    products=250,
    kills=9,
    terminations=3,
    stops=3,
    restarts=2,
    index_drops=2,
    replays=4,
    poison=10,
)


WORLDS: dict[str, Callable[[Path], World]] = {
    "embedded": EmbeddedWorld,
    "redis": RedisWorld,
    "nats": NatsWorld,
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world = WORLDS[request.param](tmp_path)
    yield world
    world.close()


def test_nothing_is_lost_and_nothing_is_wrong(world: World, tmp_path: Path) -> None:
    verdict = Night(PLAN, world, tmp_path).run()
    assert verdict.problems == [], str(verdict)
    assert verdict.counts["kills"] >= 5, "it was a bad night"
    assert verdict.counts["redelivered"] > 0
    assert verdict.counts["dead letters"] >= 10
