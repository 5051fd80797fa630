"""The Python API, from a fresh interpreter state, on the embedded file and on Redis."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import recsys_cli
from recsys_cli import ProductEventConsumer, ProductEventProducer
from recsys_cli.errors import InvalidProduct
from tests.servers import RedisServer, wait_until


@pytest.fixture(params=["embedded", "redis"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        monkeypatch.setenv("REDIS_URL", server.url)
    recsys_cli.close()
    yield
    recsys_cli.close()


def test_publish_consume_and_find() -> None:
    producer = ProductEventProducer()
    kettle = {"name": "Gooseneck kettle", "category": "Kitchen", "price": 59}
    first = producer.publish_product_created({"id": "k-1", **kettle})
    second = producer.publish_product_created(
        recsys_cli.Product(id="k-2", name="Gooseneck kettle, small", price=49.0)
    )
    assert first != second
    ProductEventConsumer().run(drain=True)

    store = recsys_cli.get_vector_store()
    vector = store.get_product_embedding("k-1")
    assert vector is not None
    assert vector.shape == (384,)
    itself, other = store.find_similar_products(vector, limit=10, min_score=0.1)
    assert (itself.product_id, itself.name, itself.category, itself.price) == (
        "k-1",
        "Gooseneck kettle",
        "Kitchen",
        59.0,
    )
    assert itself.similarity_score == pytest.approx(1.0, abs=1e-5)
    assert other.product_id == "k-2"
    assert other.embedding_updated_at > "2026"


def test_updates_and_deletes_arrive() -> None:
    producer = ProductEventProducer()
    producer.publish_product_created({"id": "k-1", "name": "Kettle", "price": 59})
    producer.publish_product_updated("k-1", {"price": 39, "brand": "Brewista"})
    ProductEventConsumer().run(drain=True)
    store = recsys_cli.get_vector_store()
    vector = store.get_product_embedding("k-1")
    assert vector is not None
    assert store.find_similar_products(vector)[0].price == 39.0

    producer.publish_product_deleted("k-1")
    ProductEventConsumer().run(drain=True)
    assert store.get_product_embedding("k-1") is None


def test_what_is_no_product_is_told_as_such() -> None:
    producer = ProductEventProducer()
    for product in ({"id": "", "name": "Kettle"}, {"id": "k-1"}, {"id": "k-1", "price": -1}):
        with pytest.raises(InvalidProduct):
            producer.publish_product_created(product)
    with pytest.raises(InvalidProduct):
        producer.publish_product_updated("k-1", {"price": -1})


def test_a_background_consumer_starts_and_stops() -> None:
    consumer = ProductEventConsumer("in-the-background")
    consumer.start(batch_size=10, block_ms=60_000)
    consumer.start()
    assert consumer.is_running

    ProductEventProducer().publish_product_created({"id": "k-1", "name": "Kettle"})
    store = recsys_cli.get_vector_store()
    wait_until(lambda: store.get_product_embedding("k-1") is not None, 10, "k-1 is embedded")
    names = [c.name for c in recsys_cli.get_event_processor().status().consumers]
    assert "in-the-background" in names

    consumer.stop()
    consumer.stop()
    assert not consumer.is_running


def test_embeddings_of_ones_own() -> None:
    store = recsys_cli.get_vector_store()
    store.store_product_embedding("a", [3.0] + [0.0] * 383, {"name": "A", "price": 2})
    store.store_product_embedding("b", [1.0, 1.0] + [0.0] * 382, {"category": "C"})

    found = store.find_similar_products([1.0] + [0.0] * 383, min_score=0.7)
    assert [(n.product_id, round(n.similarity_score, 4)) for n in found] == [
        ("a", 1.0),
        ("b", 0.7071),
    ]
    assert [n.product_id for n in store.find_similar_products([1.0] + [0.0] * 383)] == ["a"]

    assert store.delete_product_embedding("a")
    assert not store.delete_product_embedding("a")
    assert store.get_product_embedding("a") is None


@pytest.mark.parametrize("bad", [[], [0.0] * 384, [float("nan")] * 384, [1.0] * 383])
def test_a_bad_embedding_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"embedding|size|dimension|vector"):
        recsys_cli.get_vector_store().store_product_embedding("a", bad, {})


def test_one_instance_for_all_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        processors = list(pool.map(lambda _: recsys_cli.get_event_processor(), range(8)))
    assert len(set(map(id, processors))) == 1


def test_the_embedding_model_is_shared() -> None:
    ProductEventProducer().publish_product_created({"id": "k-1", "name": "Kettle"})
    model = recsys_cli.get_embedding_model()
    ProductEventConsumer().run(drain=True)
    vector = recsys_cli.get_vector_store().get_product_embedding("k-1")
    (again,) = model.embed([recsys_cli.Product(id="k-1", name="Kettle")])
    assert vector is not None
    np.testing.assert_array_equal(vector, again)
    assert recsys_cli.get_embedding_model() is model
