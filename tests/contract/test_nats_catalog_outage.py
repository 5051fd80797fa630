"""The catalog on NATS while the server is killed, full, or takes only small messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from recsys_cli.catalogs.nats_kv import NatsCatalog
from recsys_cli.catalogs.nats_objects import Objects
from recsys_cli.connections.nats import NatsConnection
from recsys_cli.domain import EventType, Fields, Position, ProductEvent
from recsys_cli.errors import BackendUnavailable
from recsys_cli.merge import ProductState, state_of
from tests.nats_server import NatsServer, running_nats
from tests.servers import wait_until


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with running_nats() as server:
        yield server


def opened(server: NatsServer, closing: Callable[[object], None]) -> NatsCatalog:
    catalog = NatsCatalog(NatsConnection(server.url))
    closing(catalog)
    return catalog


def named(number: int, description: str = "") -> ProductState:
    fields: Fields = {"name": f"Lamp {number}", "description": description}
    event = ProductEvent(type=EventType.CREATE, product_id="", fields=fields)
    return state_of(event, Position(number, 0))


class Merging(threading.Thread):
    """Merges batches until it is told that the server is gone; ``done`` has what was accepted."""

    def __init__(self, catalog: NatsCatalog, description: str) -> None:
        super().__init__()
        self.done: dict[str, ProductState] = {}
        self.asked: dict[str, ProductState] = {}
        self.error: Exception | None = None
        self._catalog = catalog
        self._description = description

    def run(self) -> None:
        try:
            for batch in range(1, 100_000):
                changes = {f"p{n}": named(batch, self._description) for n in range(20)}
                changes |= {f"{batch}-{n}": named(batch, self._description) for n in range(5)}
                self.asked = self.asked | changes
                self.done = self.done | self._catalog.merge(changes)
        except BackendUnavailable as error:
            self.error = error


@pytest.mark.parametrize("description", ["", "x" * 600_000], ids=["small", "in parts"])
def test_a_server_killed_while_merging_keeps_what_it_accepted(
    description: str, server: NatsServer, closing: Callable[[object], None]
) -> None:
    catalog = opened(server, closing)
    merging = Merging(opened(server, closing), description)
    merging.start()
    wait_until(lambda: len(merging.done) > 40, 60, "some are merged")
    server.stop(kill=True)
    merging.join(60)
    assert isinstance(merging.error, BackendUnavailable)
    with pytest.raises(BackendUnavailable):
        catalog.get(["p0"])
    server.start()

    found = catalog.get(list(merging.asked))

    for product_id, state in merging.done.items():
        assert found[product_id].position >= state.position
    assert catalog.merge(merging.asked) == merging.asked
    assert catalog.get(list(merging.asked)) == merging.asked
    assert {product.id for product in catalog.products()} == merging.asked.keys()


def test_a_server_killed_while_all_products_are_read(
    server: NatsServer, closing: Callable[[object], None]
) -> None:
    catalog = opened(server, closing)
    states = {f"p{number}": named(1) for number in range(2500)}
    catalog.merge(states)
    products = catalog.products()
    next(products)
    server.stop(kill=True)
    with pytest.raises(BackendUnavailable):
        list(products)
    server.start()
    assert sum(1 for _ in catalog.products()) == len(states)


def test_a_server_without_room_is_unavailable_until_it_has_some(
    closing: Callable[[object], None],
) -> None:
    with running_nats("jetstream { max_file_store: 2MB }") as server:
        catalog = opened(server, closing)
        large = {f"p{number}": named(1, "x" * 100_000) for number in range(50)}
        with pytest.raises(BackendUnavailable, match=r"room|resources|storage"):
            catalog.merge(large)
        stored = catalog.get(list(large))
        assert 0 < len(stored) < len(large)
        server.stop()
        server.config = ""
        server.start()
        assert catalog.merge(large) == large
        assert catalog.get(list(large)) == large


def test_a_server_that_takes_small_messages_gets_more_parts(
    closing: Callable[[object], None],
) -> None:
    with running_nats("max_payload: 65536") as server:
        catalog = opened(server, closing)
        states = {f"p{number}": named(1, "x" * 300_000) for number in range(5)}
        assert catalog.merge(states) == states
        assert catalog.get(list(states)) == states


def test_a_server_killed_while_a_model_is_stored(
    server: NatsServer, closing: Callable[[object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = opened(server, closing)
    model = bytes(10_000_000) + b"checksum" * 4
    chunk_of, chunks = Objects._chunk, iter(range(1_000))

    def chunk(objects: Objects, nuid: str) -> str:
        if next(chunks) == 10:
            server.stop(kill=True)
        return chunk_of(objects, nuid)

    monkeypatch.setattr(Objects, "_chunk", chunk)
    with pytest.raises(BackendUnavailable):
        catalog.offer_model(model)
    server.start()
    assert catalog.active_model() is None
    assert catalog.models() == []
    assert catalog.offer_model(model) == model
    assert catalog.active_model() == model
