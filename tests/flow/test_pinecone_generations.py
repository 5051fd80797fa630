"""Namespaces of Pinecone: each generation has one of its own, with nothing in it of any other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from recsys_cli.domain import IndexSpec, Position, ProductMetadata, StoredEmbedding
from recsys_cli.generations import serving
from recsys_cli.ports import Embedding, Generations
from recsys_cli.settings import load
from recsys_cli.vectors import pinecone
from recsys_cli.wiring import Backends
from tests.commands import Recsys
from tests.flow.test_main_job import CATALOGUE
from tests.pinecone_server import PineconeServer

SPEC = IndexSpec(dimension=384)
DELETE = "/vectors/delete"

pytestmark = pytest.mark.parametrize("recsys", ["embedded+pinecone"], indirect=True)


def embedding(product_id: str) -> Embedding:
    source = StoredEmbedding(position=Position(1, 0), model_version="m", text_digest="d")
    row = np.eye(1, 384, dtype=np.float32)[0]
    return Embedding(product_id, row, ProductMetadata(), source, "now")


@pytest.fixture
def generations(recsys: Recsys, monkeypatch: pytest.MonkeyPatch) -> Iterator[Generations]:  # noqa: ARG001 - its shop
    """Those that wait until what is written is shown."""
    monkeypatch.setattr(pinecone, "_SHOWN_WITHIN_S", 2.0)
    with Backends(load({"pinecone_wait_visible": True})) as backends:
        yield backends.get_generations()


def test_what_a_consumer_writes_while_a_generation_is_dropped_goes_too(
    generations: Generations, pinecone_server: PineconeServer
) -> None:
    with Backends(load()) as consumer:
        token = generations.lock("a test", 60_000)
        new = generations.begin(token, "m", SPEC)
        store = consumer.get_generations().store(new)
        store.write([embedding("a")])
        times = count(1)

        def write(path: str) -> None:
            if path == DELETE and next(times) == 1:
                store.write([embedding("b")])

        pinecone_server.after = write
        generations.drop(token, new.number)
    assert next(times) > 2
    assert pinecone_server.data.namespaces == {}


@pytest.mark.parametrize("stale_reads", [0, 2])
def test_a_new_generation_begins_without_what_a_lost_catalog_left(
    stale_reads: int, recsys: Recsys, pinecone_server: PineconeServer, tmp_path: Path
) -> None:
    feed = tmp_path / "catalogue.csv"
    feed.write_text(CATALOGUE)
    recsys.stock(feed)
    recsys("reembed")
    (left,) = pinecone_server.data.namespaces.keys() - {"product:vectors"}
    (tmp_path / "home" / "recsys.db").unlink()
    for held in pinecone_server.data.namespaces.values():
        held["of-earlier"] = dict(held["kettle-1"])
    pinecone_server.data.namespaces["product:vectors"].clear()

    recsys.stock(feed)
    pinecone_server.data.stale_reads = stale_reads
    recsys("reembed")
    held = pinecone_server.data.namespaces[left]
    assert held.keys() == pinecone_server.data.namespaces["product:vectors"].keys()
    assert "of-earlier" not in held


def test_no_index_shares_a_namespace_with_another(
    recsys: Recsys, pinecone_server: PineconeServer
) -> None:
    del recsys
    names = ("a", "a:2", "#2:a", "2:a", "#2:#2:a")
    for name in names:
        with Backends(load({"vector_index_name": name})) as backends:
            generations = backends.get_generations()
            token = generations.lock("a test", 60_000)
            for _ in range(2):
                generations.begin(token, "m", SPEC)
            for found in generations.all():
                generations.store(found).write([embedding(f"{name} {found.number}")])
            store = generations.store(serving(generations.all()))
            assert [e.product_id for page in store.entries() for e in page] == [f"{name} 1"]
    assert len(pinecone_server.data.namespaces) == 3 * len(names)
    assert {"a", "a:2", "2:a"} < pinecone_server.data.namespaces.keys(), "that of the first"
