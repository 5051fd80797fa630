"""What the models on NATS promise beyond ports.Models: an object store that others can read."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from nats.js.api import StorageType, StreamConfig

from recsys_cli.catalogs.nats_kv import NatsCatalog
from recsys_cli.catalogs.nats_models import STORE, NatsModels
from recsys_cli.catalogs.nats_objects import Objects
from recsys_cli.connections.nats import NatsConnection
from recsys_cli.domain import Position
from recsys_cli.errors import BackendUnavailable, InvalidData
from recsys_cli.ports import version_of
from tests.contract.conftest import CatalogSide
from tests.nats_cluster import NatsCluster
from tests.nats_server import running_nats

if TYPE_CHECKING:
    from nats.aio.client import Client

STREAM = f"OBJ_{STORE}"


@pytest.fixture
def catalog(nats_backend: CatalogSide, closing: Callable[[object], None]) -> NatsCatalog:
    return opened(nats_backend, closing)


def opened(side: CatalogSide, closing: Callable[[object], None]) -> NatsCatalog:
    catalog = side.catalog()
    assert isinstance(catalog, NatsCatalog)
    closing(catalog)
    return catalog


def artifact(seed: int, size: int = 100) -> bytes:
    content = random.Random(seed).randbytes(size)
    return content + hashlib.sha256(content).digest()


def messages(catalog: NatsCatalog, subjects: str = ">") -> dict[str, int]:
    """Return how many messages of the object store each subject has."""

    async def count(client: Client) -> dict[str, int]:
        info = await client.jetstream().stream_info(STREAM, f"$O.{STORE}.{subjects}")
        return info.state.subjects or {}

    return catalog._connection.call(count)


def lose_chunk(catalog: NatsCatalog, number: int) -> None:
    async def lose(client: Client) -> None:
        jetstream = client.jetstream()
        at = 1
        for _ in range(number):
            at = ((await jetstream.get_msg(STREAM, at, subject, next=True)).seq or 0) + 1
        message = await jetstream.get_msg(STREAM, at, subject, next=True)
        await jetstream.delete_msg(STREAM, message.seq or 0)

    (subject,) = messages(catalog, "C.>")
    catalog._connection.call(lose)


def test_another_client_reads_the_models(catalog: NatsCatalog) -> None:
    """In the published layout, with the driver's own object store, as the ``nats`` command does."""
    models = [artifact(1), artifact(2, 2_000_000), artifact(3)]
    for model in models:
        catalog.save_model(model)
    catalog.remove_model(version_of(models[2]))

    async def read(client: Client) -> dict[str, bytes]:
        store = await client.jetstream().object_store(STORE)
        names = [info.name for info in await store.list()]
        return {name: (await store.get(name)).data or b"" for name in names}

    assert catalog._connection.call(read) == {version_of(model): model for model in models[:2]}


def test_a_model_that_another_client_stored_anew_is_read(catalog: NatsCatalog) -> None:
    catalog.save_model(model := artifact(1, 300_000))

    async def store_anew(client: Client) -> None:
        store = await client.jetstream().object_store(STORE)
        await store.delete(version_of(model))
        await store.put(version_of(model), model)

    catalog._connection.call(store_anew)
    assert catalog.model(version_of(model)) == model
    assert catalog.use_model(version_of(model))


def test_a_model_of_thirty_megabytes(
    catalog: NatsCatalog, nats_backend: CatalogSide, closing: Callable[[object], None]
) -> None:
    model = artifact(1, 30_000_000)
    assert catalog.offer_model(model, Position(7, 1)) == model
    other = opened(nats_backend, closing)
    assert other.active_model() == model
    assert [m.size_bytes for m in other.models()] == [len(model)]
    assert other.offer_model(artifact(2)) == model


def test_what_is_removed_leaves_nothing(catalog: NatsCatalog) -> None:
    catalog.save_model(model := artifact(1, 3_000_000))
    assert catalog.remove_model(version_of(model))
    assert messages(catalog) == {}
    assert catalog.models() == []


def test_whoever_loses_leaves_nothing(catalog: NatsCatalog) -> None:
    first, other = artifact(1, 700_000), artifact(2, 700_000)

    async def race(client: Client) -> list[bool]:
        objects = Objects(client, STORE)
        await objects.create()
        seen = await objects.look("v")
        return list(await asyncio.gather(*(objects.put("v", m, seen) for m in (first, other))))

    assert sorted(catalog._connection.call(race)) == [False, True]
    assert catalog.model("v") in (first, other)
    assert len(messages(catalog)) == 2


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_model_without_a_chunk_is_damaged(catalog: NatsCatalog, number: int) -> None:
    catalog.offer_model(model := artifact(1, 2_000_000))
    lose_chunk(catalog, number)
    for read in (catalog.active_model, lambda: catalog.model(version_of(model))):
        with pytest.raises(InvalidData, match=f"{version_of(model)}.*is damaged") as caught:
            read()
        assert "recsys model import FILE" in caught.value.hint
    catalog.save_model(model)
    assert catalog.active_model() == model
    assert len(messages(catalog)) == 2


@pytest.mark.parametrize("text", [b"", b"no JSON", b"{}", b'{"name": "x", "size": 5}'])
def test_a_model_with_a_damaged_description(catalog: NatsCatalog, text: bytes) -> None:
    catalog.save_model(model := artifact(1))
    (about,) = messages(catalog, "M.>")

    async def damage(client: Client) -> None:
        await client.jetstream().publish(about, text)

    catalog._connection.call(damage)
    with pytest.raises(InvalidData, match="is damaged"):
        catalog.use_model(version_of(model))
    catalog.save_model(model)
    assert catalog.use_model(version_of(model))
    assert catalog.active_model() == model


def test_the_model_in_use_deleted_by_hand(catalog: NatsCatalog) -> None:
    catalog.offer_model(model := artifact(1))

    async def delete(client: Client) -> None:
        await (await client.jetstream().object_store(STORE)).delete(version_of(model))

    catalog._connection.call(delete)
    for read in (catalog.active_model, lambda: catalog.offer_model(artifact(2))):
        with pytest.raises(InvalidData, match=f"{version_of(model)}, is missing") as caught:
            read()
        assert "recsys model import FILE" in caught.value.hint
    assert not catalog.use_model(version_of(model))
    catalog.save_model(model)
    assert catalog.active_model() == model


def test_a_store_deleted_by_hand_is_made_anew(catalog: NatsCatalog) -> None:
    catalog.save_model(model := artifact(1))

    async def delete(client: Client) -> None:
        await client.jetstream().delete_object_store(STORE)

    catalog._connection.call(delete)
    assert catalog.model(version_of(model)) is None
    catalog._connection.call(delete)
    catalog.save_model(model)
    assert catalog.model(version_of(model)) == model


def test_what_killed_writers_left_is_swept(catalog: NatsCatalog) -> None:
    catalog.offer_model(in_use := artifact(1, 700_000))
    catalog.save_model(kept := artifact(2))
    clean = messages(catalog)

    async def leave(client: Client) -> None:
        objects = Objects(client, STORE)
        await objects.put("nofacts", artifact(3, 700_000), await objects.look("nofacts"))
        nuid = f"{int(time.time()):x}-{'0' * 32}"
        await client.jetstream().publish(objects._chunk(nuid), b"x" * 500_000)

    catalog._connection.call(leave)
    assert len(messages(catalog)) == len(clean) + 3
    catalog.save_model(artifact(2))
    assert len(messages(catalog)) == len(clean) + 3  # they might still be written
    models = catalog._models
    assert isinstance(models, NatsModels)
    models._sweep(older_than_s=-2)
    assert messages(catalog) == clean
    assert (catalog.active_model(), catalog.model(version_of(kept))) == (in_use, kept)


def test_a_server_without_room_keeps_nothing_of_what_did_not_fit(
    closing: Callable[[object], None],
) -> None:
    with running_nats("jetstream { max_file_store: 3MB }") as server:
        catalog = NatsCatalog(NatsConnection(server.url))
        closing(catalog)
        for _ in range(3):
            with pytest.raises(BackendUnavailable, match=r"room|resources|storage"):
                catalog.offer_model(artifact(1, 8_000_000))
        assert messages(catalog) == {}
        assert catalog.offer_model(small := artifact(2, 1_000_000)) == small


def test_a_model_removed_while_it_is_put_into_use_stays(
    catalog: NatsCatalog, nats_backend: CatalogSide, closing: Callable[[object], None]
) -> None:
    """Whichever of the two is first, the model in use is there."""
    other = opened(nats_backend, closing)
    catalog.save_model(first := artifact(1))
    catalog.use_model(version_of(first))
    for seed in range(2, 22):
        catalog.save_model(model := artifact(seed))
        version = version_of(model)
        with ThreadPoolExecutor() as pool:
            using = pool.submit(catalog.use_model, version)
            pool.submit(other.remove_model, version)
        in_use = model if using.result() else first
        assert catalog.active_model() == in_use
        assert version_of(in_use) in {stored.version for stored in catalog.models()}
        catalog.use_model(version_of(first))


@pytest.mark.long
def test_a_cluster_has_three_of_each_and_a_reader_that_is_behind_sees_no_damage(
    nats_cluster_backend: CatalogSide, closing: Callable[[object], None]
) -> None:
    """Whichever servers they are connected to."""
    catalogs = [opened(nats_cluster_backend, closing) for _ in range(6)]
    model = artifact(1, 30_000_000)
    assert catalogs[0].offer_model(model) == model
    for seed in range(2, 22):
        earlier = model
        catalogs[seed % 6].save_model(model := artifact(seed, 700_000))
        assert catalogs[(seed + 1) % 6].use_model(version_of(model))
        for catalog in catalogs:
            assert catalog.active_model() in (earlier, model)
        assert catalogs[(seed + 2) % 6].remove_model(version_of(earlier))
        assert catalogs[(seed + 3) % 6].active_model() == model

    async def config(client: Client) -> StreamConfig:
        return (await client.jetstream().stream_info(STREAM)).config

    made = catalogs[0]._connection.call(config)
    assert (made.num_replicas, made.storage) == (3, StorageType.FILE)


@pytest.mark.long
def test_a_cluster_that_lost_the_leader_of_the_models_has_them_still(
    nats_cluster: NatsCluster,
    nats_cluster_backend: CatalogSide,
    closing: Callable[[object], None],
) -> None:
    catalog = opened(nats_cluster_backend, closing)
    first, other = artifact(1, 3_000_000), artifact(2, 3_000_000)
    assert catalog.offer_model(first) == first
    nats_cluster.lose_leader(STREAM, kill=True)
    catalog.close()
    assert catalog.active_model() == first
    catalog.save_model(other)
    assert catalog.use_model(version_of(other))
    assert catalog.model(version_of(other)) == other
