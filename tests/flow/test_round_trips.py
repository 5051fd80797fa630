"""How often a backend is asked: what makes import and consume fast, and can be counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from recsys_cli.connections.redis import RedisConnection
from recsys_cli.domain import FeedRow
from recsys_cli.errors import FeedError
from recsys_cli.generations import Generation
from recsys_cli.pipeline.consume import ConsumeOptions, Consumer
from recsys_cli.pipeline.publish import CHUNK, FeedPublisher
from recsys_cli.ports import Embedding, Generations, VectorStore
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.servers import RedisServer

BATCH = 100


@pytest.fixture
def opened(redis_server: RedisServer) -> Iterator[Backends]:
    """A shop whose model is fitted, and whose first products are embedded."""
    with Backends(load({}, {"REDIS_URL": redis_server.url})) as backends:
        publish(backends, "first", BATCH)
        consume(backends)
        yield backends


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first command of each trip to Redis, as they are made."""
    made: list[str] = []
    depart = RedisConnection._depart

    def counted(connection: RedisConnection, trip: Sequence[Any]) -> Any:
        made.append(str(trip[0][0]))
        return depart(connection, trip)

    monkeypatch.setattr(RedisConnection, "_depart", counted)
    return made


def rows(name: str, count: int, price: float = 9.0) -> list[FeedRow]:
    return [
        FeedRow(
            file="",
            line=n,
            product_id=f"{name}-{n}",
            fields={"name": f"Lamp {name} {n}", "price": price},
        )
        for n in range(count)
    ]


def publish(opened: Backends, name: str, count: int, price: float = 9.0) -> None:
    publisher = FeedPublisher(opened.get_event_processor(), opened.get_catalog())
    publisher.publish(rows(name, count, price), on_rejected=unexpected, on_duplicate=unexpected)


def unexpected(what: object) -> None:
    pytest.fail(str(what))


def consume(opened: Backends, generations: Generations | None = None) -> int:
    how = ConsumeOptions(consumer="c", batch_size=BATCH, drain=True)
    consumer = Consumer(
        opened.get_event_processor(),
        opened.get_catalog(),
        generations or opened.get_generations(),
        opened.get_model_factory(),
        how,
        unexpected,
    )
    return consumer.run(threading.Event()).processed


def test_a_chunk_of_a_feed_takes_three_trips_and_an_unchanged_one_takes_one(
    opened: Backends, trips: list[str]
) -> None:
    publish(opened, "new", 2 * CHUNK)
    # The second is read and compared while the first is on its way.
    assert trips == ["GET", "XADD", "GET", "SET", "XADD", "SET"]
    trips.clear()
    publish(opened, "new", 2 * CHUNK)
    assert trips == ["GET"] * 2
    trips.clear()
    publish(opened, "new", CHUNK, price=7.0)
    assert trips == ["GET", "XADD", "SCRIPT", "EVALSHA"]


def test_a_product_of_two_chunks_is_compared_with_what_the_first_has_published(
    opened: Backends, trips: list[str]
) -> None:
    publisher = FeedPublisher(opened.get_event_processor(), opened.get_catalog())
    twice = [*rows("new", CHUNK), *rows("new", 3), *rows("new", 2, price=7.0)]

    publisher.publish(twice, on_rejected=unexpected, on_duplicate=lambda _: None)

    assert trips == ["GET", "XADD", "SET", "GET", "XADD", "SCRIPT", "EVALSHA"]
    found = publisher.report
    assert (found.created, found.updated, found.unchanged) == (CHUNK, 2, 1)


def test_what_was_on_its_way_when_a_feed_broke_off_has_arrived(opened: Backends) -> None:
    publisher = FeedPublisher(opened.get_event_processor(), opened.get_catalog())

    def broken() -> Iterator[FeedRow]:
        yield from rows("new", CHUNK)
        raise FeedError("it ends in the middle")

    told: list[tuple[int, int]] = []
    with pytest.raises(FeedError):
        publisher.publish(
            broken(),
            on_rejected=unexpected,
            on_duplicate=unexpected,
            on_progress=lambda report: told.append((report.read, report.created)),
        )

    assert told[-1] == (CHUNK, CHUNK)
    ids = [row.product_id for row in rows("new", CHUNK)]
    assert len(opened.get_catalog().get(ids)) == CHUNK


def test_a_product_costs_redis_as_few_commands_as_can_be(
    opened: Backends, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.config_resetstat()
        publish(opened, "new", CHUNK)
        assert calls(client) >= {"get": CHUNK, "xadd": CHUNK, "set": CHUNK}.items()
        assert "evalsha" not in dict(calls(client))
        client.config_resetstat()
        assert consume(opened) == CHUNK
        used = dict(calls(client))
    # Of each product: its state before and after, what is stored, and one write.
    assert used["get"] <= 2 * CHUNK + 10
    assert used["hmget"] == CHUNK
    assert used["hset"] == CHUNK
    assert used["evalsha"] <= CHUNK + 1  # the consumer leaves
    assert "set" not in used
    # Of each batch, and of the last look that finds nothing.
    assert used["xackdel"] == CHUNK // BATCH
    assert used["xreadgroup"] <= CHUNK // BATCH + 3


def calls(client: Any) -> Any:
    stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}.items()


def test_a_batch_takes_the_same_few_trips_however_large_it_is(
    opened: Backends, trips: list[str]
) -> None:
    publish(opened, "new", 10 * BATCH)
    trips.clear()
    consume(opened)
    # Read, merge, compare, store; look at states, generations and model again; acknowledge.
    assert len(trips) <= 10 * 8 + 25, Counter(trips)


class Watched:
    """Generations whose stores tell when a write begins and ends."""

    def __init__(self, inner: Generations, told: list[str]) -> None:
        self._inner = inner
        self._told = told
        self.all = inner.all

    def store(self, generation: Generation) -> VectorStore:
        store = self._inner.store(generation)
        begin_write = store.begin_write

        def begin(embeddings: Sequence[Embedding]) -> Callable[[], object]:
            self._told.append("begin")
            arrive = begin_write(embeddings)

            def end() -> object:
                self._told.append("end")
                return arrive()

            return end

        store.begin_write = begin  # type: ignore[method-assign]
        return store


def test_the_next_batch_is_embedded_while_the_last_is_stored(opened: Backends) -> None:
    publish(opened, "new", 4 * BATCH)
    told: list[str] = []
    consume(opened, Watched(opened.get_generations(), told))  # type: ignore[arg-type]
    assert told == ["begin", *["begin", "end"] * 3, "end"]
