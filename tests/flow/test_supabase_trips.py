"""How often Postgres is asked: far away, each time costs as much as the statement itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from recsys_cli.pipeline.publish import CHUNK
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.flow.test_round_trips import BATCH, consume, publish
from tests.postgres import PostgresServer


@pytest.fixture
def opened(postgres_server: PostgresServer) -> Iterator[Backends]:
    """A shop whose model is fitted, and whose first products are embedded."""
    with Backends(load({}, postgres_server.settings)) as backends:
        publish(backends, "first", BATCH)
        consume(backends)
        yield backends


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each answer of the server that was waited for."""
    made: list[int] = []
    wait = psycopg.Connection.wait

    def counted(session: Any, *arguments: Any, **options: Any) -> Any:
        made.append(1)
        return wait(session, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "wait", counted)
    return made


def test_a_chunk_of_a_feed_takes_three_trips_and_an_unchanged_one_takes_one(
    opened: Backends, trips: list[int]
) -> None:
    publish(opened, "new", 2 * CHUNK)
    assert len(trips) == 2 * 3
    trips.clear()
    publish(opened, "new", 2 * CHUNK)
    assert len(trips) == 2


def test_receiving_and_acknowledging_take_one_trip_each(opened: Backends, trips: list[int]) -> None:
    publish(opened, "new", BATCH)
    events = opened.get_event_processor()
    events.acknowledge(events.receive("c", BATCH - 1, 0))
    trips.clear()
    deliveries = events.receive("c", BATCH, 0)
    assert len(deliveries) == len(trips) == 1
    events.renew(deliveries)
    events.acknowledge(deliveries)
    assert len(trips) == 3


def test_a_batch_takes_the_same_few_trips_however_large_it_is(
    opened: Backends, trips: list[int]
) -> None:
    publish(opened, "new", 10 * BATCH)
    trips.clear()
    consume(opened)
    # Read, merge, compare, store; look at states, generations and model again; acknowledge.
    assert len(trips) <= 10 * 8 + 55
