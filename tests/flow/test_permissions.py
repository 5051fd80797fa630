"""The users that the README describes can do all that is theirs, and need each permission."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from recsys_cli.connections.redis import CommandUnavailable
from recsys_cli.domain import IndexSpec, Product
from recsys_cli.errors import BackendRefused
from recsys_cli.generations import FIRST
from recsys_cli.neighbor_lists import NeighborList
from recsys_cli.pipeline.consume import ConsumeOptions, Consumer
from recsys_cli.pipeline.dead_letters import LetterChoice, newest, purge, replay
from recsys_cli.pipeline.products import put_product, remove_product, update_product
from recsys_cli.pipeline.similar import Query, Similar, SimilarProducts
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.acl import PASSWORD, acl_user, operator_rules, pinecone_rules, worker_rules
from tests.faults import FaultyModels
from tests.pinecone_server import PineconeServer
from tests.servers import RedisServer

CLAIM_IDLE_MS = 1


@contextmanager
def backends(
    server: RedisServer, user: str, more: Mapping[str, str] | None = None
) -> Iterator[Backends]:
    environ = {"REDIS_URL": server.url, "REDIS_USERNAME": user, "REDIS_PASSWORD": PASSWORD}
    with Backends(load({}, environ | dict(more or {})), claim_idle_ms=CLAIM_IDLE_MS) as opened:
        yield opened


def consume(opened: Backends, meet: Callable[[Sequence[Product]], None] = lambda _: None) -> None:
    Consumer(
        opened.get_event_processor(),
        opened.get_catalog(),
        opened.get_generations(),
        FaultyModels(opened.get_model_factory(), meet),
        ConsumeOptions(consumer="c", drain=True, claim_idle_ms=CLAIM_IDLE_MS, max_deliveries=3),
    ).run(threading.Event())


def work(opened: Backends) -> None:
    """All that a worker does: publish, consume through failures, query, and look at everything."""
    events, catalog = opened.get_event_processor(), opened.get_catalog()
    vectors, letters = opened.get_vector_store(), opened.get_dead_letters()
    for part in (events, catalog, vectors):
        part.health()
    for product_id in ("lamp", "lamp-2", "rug"):
        put_product(events, catalog, product_id, {"name": f"Desk {product_id}", "price": 9})
    # Until the rug is alone: it fails, and is put off.
    failures = iter(["all three", "lamp-2 and rug", "rug"])

    def fail_at_first(products: Sequence[Product]) -> None:
        if any(product.id == "rug" for product in products) and next(failures, None):
            raise MemoryError

    consume(opened, fail_at_first)
    assert next(failures, None) is None
    update_product(events, catalog, "lamp", {"price": None})
    remove_product(events, catalog, "rug")
    consume(opened)
    answer, _ = SimilarProducts(events, catalog, opened.get_generations()).of(
        ["lamp", "rug"], Query()
    )
    assert isinstance(answer, Similar)
    assert [neighbor.product_id for neighbor in answer.neighbors] == ["lamp-2"]
    info = vectors.info()
    assert info is not None
    assert (info.documents, len(info.model_versions)) == (2, 1)
    status = events.status()
    assert (status.lag, status.pending) == (0, 0)
    # Without XACKDEL the last entry stays.
    assert status.length <= 1
    assert events.pending(10) == []
    assert newest(letters, 10) == []


def operate(opened: Backends) -> None:
    """What comes on top for an operator."""
    events, vectors, letters = (
        opened.get_event_processor(),
        opened.get_vector_store(),
        opened.get_dead_letters(),
    )
    assert vectors.create_index(IndexSpec())
    generations = opened.get_generations()
    token = generations.lock("operator", 60_000)
    new = generations.begin(token, "", IndexSpec())
    generations.store(new).create_index(IndexSpec())
    generations.serve(token, new.number)
    generations.serve(token, FIRST)
    generations.drop(token, new.number)
    generations.unlock(token)
    sink = opened.get_neighbor_sink(new, "a test")
    sink.write([NeighborList("lamp", [])])
    sink.finish()
    put_product(events, opened.get_catalog(), "lamp", {"name": "Lamp"})

    def fail(_: Sequence[Product]) -> None:
        raise MemoryError

    for _ in range(2):
        while events.status().pending or events.status().lag:
            consume(opened, fail)
        replay(letters, LetterChoice(every=True))
    consume(opened)
    assert purge(letters, LetterChoice(every=True)) == 0
    assert events.drop_group("product-processors")
    assert vectors.drop_index(embeddings=True)


@pytest.fixture
def with_index(redis_server: RedisServer) -> RedisServer:
    """A server whose index an operator has made."""
    with Backends(load({}, {"REDIS_URL": redis_server.url})) as opened:
        opened.get_vector_store().create_index(IndexSpec())
    return redis_server


def test_a_worker_can_do_all_that_is_its_own(with_index: RedisServer) -> None:
    with acl_user(with_index, worker_rules()) as user, backends(with_index, user) as opened:
        work(opened)


def test_a_worker_can_do_without_what_only_a_newer_redis_has(with_index: RedisServer) -> None:
    rules = ["+xack" if rule == "+xackdel" else rule for rule in worker_rules()]
    assert "+xack" in rules
    with acl_user(with_index, rules) as user, backends(with_index, user) as opened:
        work(opened)


def test_an_operator_can_do_the_rest(redis_server: RedisServer) -> None:
    rules = worker_rules() + operator_rules()
    with acl_user(redis_server, rules) as user, backends(redis_server, user) as opened:
        operate(opened)


@pytest.mark.parametrize("needless", worker_rules())
def test_a_worker_needs_each_permission(with_index: RedisServer, needless: str) -> None:
    rules = [rule for rule in worker_rules() if rule != needless]
    with (
        acl_user(with_index, rules) as user,
        backends(with_index, user) as opened,
        pytest.raises(CommandUnavailable, match="does not let this user"),
    ):
        work(opened)


def test_with_pinecone_a_worker_needs_no_search(
    redis_server: RedisServer, pinecone_server: PineconeServer
) -> None:
    rules = [rule for rule in worker_rules() if not rule.startswith("+ft.")] + pinecone_rules()
    with (
        acl_user(redis_server, rules) as user,
        backends(redis_server, user, pinecone_server.settings) as opened,
    ):
        work(opened)


@pytest.mark.parametrize("needless", pinecone_rules())
def test_with_pinecone_a_worker_needs_each_of_these_too(
    redis_server: RedisServer, pinecone_server: PineconeServer, needless: str
) -> None:
    rules = worker_rules() + [rule for rule in pinecone_rules() if rule != needless]
    with (
        acl_user(redis_server, rules) as user,
        backends(redis_server, user, pinecone_server.settings) as opened,
        pytest.raises(CommandUnavailable, match="does not let this user"),
    ):
        work(opened)


@pytest.mark.parametrize("needless", operator_rules())
def test_an_operator_needs_each_permission(redis_server: RedisServer, needless: str) -> None:
    rules = [rule for rule in worker_rules() + operator_rules() if rule != needless]
    with (
        acl_user(redis_server, rules) as user,
        backends(redis_server, user) as opened,
        pytest.raises(BackendRefused, match=r"does not let this user|may not create one"),
    ):
        operate(opened)
