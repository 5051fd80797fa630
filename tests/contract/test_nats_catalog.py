"""What the catalog on NATS promises beyond ports.Catalog: large values, any key, foreign hands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from recsys_cli.catalogs.nats_bucket import Bucket, Entry, Swap
from recsys_cli.catalogs.nats_kv import NatsCatalog
from recsys_cli.domain import EventType, Fields, Position, ProductEvent
from recsys_cli.errors import InvalidData
from recsys_cli.merge import ProductState, state_of
from tests.contract.conftest import CatalogSide


@pytest.fixture
def catalog(nats_backend: CatalogSide, closing: Callable[[object], None]) -> NatsCatalog:
    catalog = nats_backend.catalog()
    assert isinstance(catalog, NatsCatalog)
    closing(catalog)
    return catalog


def created(number: int, fields: Fields) -> ProductState:
    event = ProductEvent(type=EventType.CREATE, product_id="", fields=fields)
    return state_of(event, Position(number, 0))


def parts(catalog: NatsCatalog) -> int:
    return sum(len(page) for page in catalog._keys.pages("part.>", 1000))


SMALL = created(2, {"name": "Lamp"})
LARGE = created(1, {"name": "Lamp", "description": "x" * 700_000})


def test_a_state_over_the_message_limit_is_cut_into_parts(catalog: NatsCatalog) -> None:
    catalog.merge({"a": LARGE, "b": LARGE, "c": SMALL})
    assert catalog.get(["a", "b", "c"]) == {"a": LARGE, "b": LARGE, "c": SMALL}
    assert {product.id for product in catalog.products()} == {"a", "b", "c"}
    assert parts(catalog) == 4


def test_parts_go_with_their_value(catalog: NatsCatalog) -> None:
    catalog.merge({"a": LARGE})
    assert parts(catalog) == 2
    catalog.merge({"a": SMALL})
    assert catalog.get(["a"])["a"].values["name"] == "Lamp"
    assert parts(catalog) == 0


def test_whoever_loses_a_swap_leaves_no_parts(catalog: NatsCatalog) -> None:
    catalog.merge({"a": SMALL})
    lost = catalog._keys.swap({"state.a": Swap(Entry(None, 0), b"y" * 700_000)})
    assert lost == ["state.a"]
    assert catalog.get(["a"]) == {"a": SMALL}
    assert parts(catalog) == 0


def test_a_value_without_its_parts_is_damaged_and_stands_in_nobodys_way(
    catalog: NatsCatalog,
) -> None:
    catalog.merge({"a": LARGE, "b": SMALL})
    catalog._keys.run(lambda bucket: bucket.purge("part.>"))
    with pytest.raises(InvalidData, match=r"state\.a"):
        catalog.get(["a"])
    assert [product.id for product in catalog.products()] == ["b"]


def test_parts_that_a_replica_does_not_have_yet_are_asked_of_the_leader(
    catalog: NatsCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.merge({"a": LARGE})
    read_some = Bucket._read_some

    async def behind(bucket: Bucket, keys: Sequence[str]) -> dict[str, Entry]:
        found = await read_some(bucket, keys)
        return {key: entry for key, entry in found.items() if not key.startswith("part.")}

    monkeypatch.setattr(Bucket, "_read_some", behind)
    assert catalog.get(["a"]) == {"a": LARGE}
    assert [product.id for product in catalog.products()] == ["a"]


def test_notes_may_be_large(catalog: NatsCatalog) -> None:
    assert catalog.swap_note("n", None, b"y" * 2_000_000)
    assert parts(catalog) == 4
    assert not catalog.swap_note("n", b"z", b"")
    assert catalog.swap_note("n", b"y" * 2_000_000, b"z")
    assert catalog.note("n") == b"z"
    assert parts(catalog) == 0


@pytest.mark.parametrize(
    "product_id", ["🧸" * 128, "a.b", ".", "..", ">", "*", "=", "=41", "A", " ", "\0", "\x7f"]
)
def test_ids_do_not_meet_in_one_key(catalog: NatsCatalog, product_id: str) -> None:
    others = {"A": created(1, {"name": "A"}), "=41": created(2, {"name": "=41"})}
    catalog.merge(others | {product_id: SMALL})
    assert catalog.get([product_id, *others]) == others | {product_id: SMALL}
    assert {product.id for product in catalog.products()} == {product_id, *others}


def test_a_key_deleted_by_hand_is_absent_and_can_come_back(catalog: NatsCatalog) -> None:
    catalog.merge({"a": SMALL, "b": SMALL})

    async def delete(client: object) -> None:
        bucket = await client.jetstream().key_value(catalog._keys.bucket)  # type: ignore[attr-defined]
        await bucket.delete("state.a")

    catalog._connection.call(delete)
    assert catalog.get(["a", "b"]) == {"b": SMALL}
    assert [product.id for product in catalog.products()] == ["b"]
    assert catalog.merge({"a": SMALL}) == {"a": SMALL}
    assert catalog.get(["a"]) == {"a": SMALL}


def test_a_bucket_deleted_by_hand_is_made_anew(catalog: NatsCatalog) -> None:
    catalog.merge({"a": LARGE})

    async def delete(client: object) -> None:
        await client.jetstream().delete_key_value(catalog._keys.bucket)  # type: ignore[attr-defined]

    catalog._connection.call(delete)
    assert catalog.get(["a"]) == {}
    catalog._connection.call(delete)
    assert catalog.merge({"a": SMALL}) == {"a": SMALL}
    assert catalog.get(["a"]) == {"a": SMALL}


def test_more_than_one_request_of_keys(catalog: NatsCatalog) -> None:
    states = {f"{number}-{'é' * 240}": SMALL for number in range(2100)}
    catalog.merge(states)
    assert catalog.get(list(states)) == states
    assert sum(1 for _ in catalog.products()) == 2100


def test_more_than_fits_one_answer_of_the_server(catalog: NatsCatalog) -> None:
    states = {
        f"p{number}": created(1, {"name": "Lamp", "description": "x" * 400_000})
        for number in range(200)
    }
    catalog.merge(states)
    assert catalog.get(list(states)) == states
    assert sum(1 for _ in catalog.products()) == 200


def test_what_a_killed_writer_left_is_swept(catalog: NatsCatalog) -> None:
    catalog.merge({"a": LARGE})
    kept = parts(catalog)

    async def leave(bucket: Bucket) -> None:
        await bucket._put_parts("state.a", b"y" * 700_000)
        await bucket._put_parts("state.never", b"y" * 700_000)

    catalog._keys.run(leave)
    assert parts(catalog) == kept + 4
    catalog.save_model(b"model")
    assert parts(catalog) == kept + 4  # they might still be written
    assert catalog._keys.run(lambda bucket: bucket.sweep(older_than_s=-1)) == 4
    assert parts(catalog) == kept
    assert catalog.get(["a"]) == {"a": LARGE}
    assert catalog._keys.run(lambda bucket: bucket.sweep(older_than_s=-1)) == 0
