"""The short form of the bad night, and a check that its reckoning can fail.

The long form, 100 000 events and three seeds on each backend: ``python -m tests.chaos``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.driver import Night, Plan
from tests.chaos.nats_world import NatsClusterWorld, NatsWorld
from tests.chaos.postgres_world import SupabaseWorld
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
    "supabase": SupabaseWorld,
    "nats": NatsWorld,
}
CLUSTERS: dict[str, Callable[[Path], World]] = {"nats-cluster": NatsClusterWorld}
"""Only in the long form: an election takes seconds, and three servers their share."""


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


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_cluster_may_lose_any_leader(cluster: str, tmp_path: Path) -> None:
    world = CLUSTERS[cluster](tmp_path)
    try:
        verdict = Night(replace(PLAN, restarts=6), world, tmp_path).run()
    finally:
        world.close()
    assert verdict.problems == [], str(verdict)
    assert verdict.counts["restarts"] == 6
