"""What every catalog promises; see ports.Catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys_cli.domain import EventType, Fields, Position, Product, ProductEvent
from recsys_cli.merge import ProductState, merge, state_of
from recsys_cli.ports import Catalog, version_of
from tests.contract.conftest import CatalogSide

NASTY = ["a/b c", "'quoted' \"twice\"", "{brace}", "🧸", "Đèn bàn", "line\nbreak", "x" * 512, "*"]


@pytest.fixture
def opened(catalog_side: CatalogSide, closing: Callable[[object], None]) -> Callable[[], Catalog]:
    def open_() -> Catalog:
        catalog = catalog_side.catalog()
        closing(catalog)
        return catalog

    return open_


@pytest.fixture
def catalog(opened: Callable[[], Catalog]) -> Catalog:
    return opened()


def state(kind: EventType, number: int, fields: Fields | None = None) -> ProductState:
    event = ProductEvent(type=kind, product_id="", fields=fields or {})
    return state_of(event, Position(number, 0))


LAMP = state(EventType.CREATE, 1, {"name": "Lamp", "price": 9.0, "brand": "Lumen"})


def test_what_is_merged_is_there(catalog: Catalog) -> None:
    assert catalog.get(["a"]) == {}
    assert catalog.merge({"a": LAMP}) == {"a": LAMP}
    assert catalog.get(["a", "never seen"]) == {"a": LAMP}


def test_any_id_is_an_id(catalog: Catalog) -> None:
    states = {
        product_id: state(EventType.CREATE, number, {"name": product_id.strip()})
        for number, product_id in enumerate(NASTY, start=1)
    }
    catalog.merge(states)
    assert catalog.get(NASTY) == states
    assert {product.id for product in catalog.products()} == set(NASTY)


def test_changes_merge_field_by_field(catalog: Catalog) -> None:
    catalog.merge({"a": LAMP})
    update = state(EventType.UPDATE, 2, {"price": 7.0, "brand": None})
    assert catalog.merge({"a": update}) == {"a": merge(LAMP, update)}
    product = catalog.get(["a"])["a"].product("a")
    assert product == Product(id="a", name="Lamp", price=7.0)


def test_an_older_change_undoes_nothing(catalog: Catalog) -> None:
    catalog.merge({"a": state(EventType.DELETE, 5)})
    catalog.merge({"a": LAMP})
    assert catalog.get(["a"])["a"].product("a") is None


def test_deleted_products_are_known_but_no_products(catalog: Catalog) -> None:
    catalog.merge({"a": LAMP, "b": LAMP})
    catalog.merge({"a": state(EventType.DELETE, 2)})
    assert set(catalog.get(["a", "b"])) == {"a", "b"}
    assert [product.id for product in catalog.products()] == ["b"]


def test_changed_tells_what_is_otherwise_by_now(catalog: Catalog) -> None:
    update = state(EventType.UPDATE, 2, {"price": 7.0})
    catalog.merge({"same": LAMP, "newer": merge(LAMP, update)})
    expected = dict.fromkeys(["same", "newer", "gone"], LAMP)
    assert catalog.changed(expected) == {"newer": merge(LAMP, update), "gone": None}
    assert catalog.changed({}) == {}


def test_known_states_are_never_trusted(catalog: Catalog) -> None:
    catalog.merge({"a": LAMP})
    newer = state(EventType.UPDATE, 3, {"name": "Desk lamp"})
    catalog.merge({"a": newer})
    price = state(EventType.UPDATE, 4, {"price": 5.0})
    expected = merge(merge(LAMP, newer), price)
    assert catalog.merge({"a": price}, known={"a": LAMP}) == {"a": expected}
    assert catalog.merge({"a": price}, known={}) == {"a": expected}
    assert catalog.get(["a"]) == {"a": expected}


def test_merges_at_the_same_moment_all_count(opened: Callable[[], Catalog]) -> None:
    catalogs = [opened() for _ in range(4)]

    def merge_all(number: int) -> None:
        for step in range(25):
            name = f"field {number}-{step}"
            change = state(EventType.UPDATE, 100 * number + step + 1, {name: "x"})
            catalogs[number].merge({"a": change})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(merge_all, range(4)))
    assert len(catalogs[0].get(["a"])["a"].values) == 100


def test_products_yields_each_once(catalog: Catalog) -> None:
    expected = {f"p{number}" for number in range(2500)}
    catalog.merge(dict.fromkeys(expected, LAMP))
    found = [product.id for product in catalog.products()]
    assert len(found) == 2500
    assert set(found) == expected


def test_products_may_change_while_they_are_read(catalog: Catalog) -> None:
    catalog.merge({f"p{number}": LAMP for number in range(1500)})
    products = catalog.products()
    next(products)
    catalog.merge({"p7": state(EventType.DELETE, 9)})
    rest = [product.id for product in products]
    assert len(rest) == len(set(rest)) >= 1498


def test_the_first_model_offered_is_the_one(opened: Callable[[], Catalog]) -> None:
    catalogs = [opened() for _ in range(4)]
    assert catalogs[0].active_model() is None
    offers = [bytes([number]) * 100 for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        got = set(pool.map(lambda c, offer: c.offer_model(offer), catalogs, offers))
    assert len(got) == 1
    assert got <= set(offers)
    assert {catalogs[0].active_model()} == got
    assert {catalogs[1].offer_model(b"late")} == got


def test_health_names_the_backend(catalog: Catalog) -> None:
    assert catalog.health().part == "catalog"


def test_closing_twice_is_harmless(catalog: Catalog) -> None:
    catalog.merge({"a": LAMP})
    catalog.close()
    catalog.close()


def test_threads_may_share_one(catalog: Catalog) -> None:
    def merge_one(number: int) -> None:
        catalog.merge({"a": state(EventType.UPDATE, number + 1, {f"field {number}": "x"})})
        catalog.get(["a"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(merge_one, range(60)))
    assert len(catalog.get(["a"])["a"].values) == 60


def artifact(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def test_models_are_kept_by_version(opened: Callable[[], Catalog]) -> None:
    catalog = opened()
    one, other = artifact(b"one"), artifact(b"other")
    catalog.offer_model(one, Position(7, 1))
    catalog.save_model(other)
    catalog.save_model(other, Position(9, 9))
    stored = {model.version: model for model in catalog.models()}
    assert set(stored) == {version_of(one), version_of(other)}
    assert stored[version_of(one)].fitted_at == Position(7, 1)
    assert stored[version_of(other)].fitted_at == Position(0, 0)
    assert stored[version_of(other)].size_bytes == len(other)
    assert catalog.model(version_of(other)) == other
    assert catalog.model("none") is None
    assert catalog.active_model() == one


def test_a_stored_model_can_be_put_to_use(opened: Callable[[], Catalog]) -> None:
    catalog = opened()
    one, other = artifact(b"one"), artifact(b"other")
    catalog.offer_model(one)
    catalog.save_model(other)
    assert not catalog.use_model("none")
    assert catalog.use_model(version_of(other))
    assert catalog.active_model() == other
    assert opened().model_checksum() == other[-32:]


def test_the_model_in_use_is_not_removed(opened: Callable[[], Catalog]) -> None:
    catalog = opened()
    one, other = artifact(b"one"), artifact(b"other")
    catalog.offer_model(one)
    catalog.save_model(other)
    assert not catalog.remove_model(version_of(one))
    assert catalog.remove_model(version_of(other))
    assert not catalog.remove_model(version_of(other))
    assert [model.version for model in catalog.models()] == [version_of(one)]


def test_of_several_who_have_seen_the_same_note_one_puts_the_next(
    opened: Callable[[], Catalog],
) -> None:
    catalogs = [opened() for _ in range(4)]
    assert catalogs[0].note("generations/of:a") is None
    assert not catalogs[0].swap_note("generations/of:a", b"never there", b"one")
    for seen in (None, b"0", b"1"):
        number = 0 if seen is None else int(seen) + 1

        def swap(catalog: Catalog, seen: bytes | None = seen, number: int = number) -> bool:
            return catalog.swap_note("generations/of:a", seen, str(number).encode())

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(swap, catalogs)) == 1
        assert catalogs[1].note("generations/of:a") == str(number).encode()
    assert catalogs[0].note("other") is None
