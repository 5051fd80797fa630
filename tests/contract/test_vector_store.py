"""What every vector store promises; see ports.VectorStore."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_cli.domain import (
    IndexSpec,
    Neighbor,
    Position,
    ProductMetadata,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.errors import IndexMismatch, IndexMissing
from recsys_cli.ports import Embedding, Vector, VectorStore
from tests.contract.conftest import VectorsSide

DIMENSION = 16
SPEC = IndexSpec(dimension=DIMENSION)
NASTY = ["a/b c", "'quoted' \"twice\"", "{brace}", "🧸", "Đèn bàn", "line\nbreak", "x" * 512, "*"]
CATEGORIES = ['Toys & Games {new} | "x"', "a,b", "back\\slash", "*", "@price:[0 1]", "Đồ chơi", "-"]


@pytest.fixture
def empty(vectors_side: VectorsSide, closing: Callable[[object], None]) -> VectorStore:
    """A store without an index."""
    store = vectors_side.vectors(dimension=DIMENSION)
    closing(store)
    return store


@pytest.fixture
def store(empty: VectorStore) -> VectorStore:
    empty.create_index(SPEC)
    return empty


def unit(*numbers: float) -> Vector:
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(numbers)] = numbers
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def entry(
    product_id: str,
    vector: Vector | None,
    *,
    at: int = 1,
    name: str = "",
    category: str = "",
    price: float | None = None,
) -> Embedding:
    return Embedding(
        product_id,
        vector,
        ProductMetadata(name=name, category=category, price=price),
        StoredEmbedding(position=Position(at, 0), model_version="m1", text_digest=f"d{at}"),
        "2026-01-01T00:00:00.000+00:00",
    )


def ids(found: list[Neighbor]) -> list[str]:
    return [neighbor.product_id for neighbor in found]


def test_creating_the_index_again_is_fine(empty: VectorStore) -> None:
    assert empty.info() is None
    assert empty.dimension() is None
    assert empty.create_index(SPEC)
    assert not empty.create_index(SPEC)
    assert empty.dimension() == DIMENSION
    with pytest.raises(IndexMismatch, match="16"):
        empty.create_index(IndexSpec(dimension=DIMENSION * 2))


def test_embeddings_written_before_the_index_are_in_it(empty: VectorStore) -> None:
    empty.write([entry("a", unit(1))])
    with pytest.raises(IndexMissing) as error:
        empty.search(unit(1), 1)
    assert error.value.hint == "recsys index create"
    empty.create_index(SPEC)
    assert ids(empty.search(unit(1), 5)) == ["a"]


def test_dropping_the_index_keeps_the_embeddings_unless_asked(store: VectorStore) -> None:
    store.write([entry("a", unit(1))])
    assert store.drop_index(embeddings=False)
    assert not store.drop_index(embeddings=False)
    assert store.dimension() is None
    assert set(store.get(["a"])) == {"a"}
    store.create_index(SPEC)
    assert ids(store.search(unit(1), 5)) == ["a"]
    assert store.drop_index(embeddings=True)
    assert store.get(["a"]) == {}


def test_what_is_written_comes_back_to_the_bit(store: VectorStore) -> None:
    vector = unit(*np.random.default_rng(1).normal(size=DIMENSION))
    store.write([entry("a", vector, at=7)])
    assert store.get(["a", "b"]).keys() == {"a"}
    np.testing.assert_array_equal(store.get(["a"])["a"], vector)
    assert store.stored(["a", "b"]) == {
        "a": StoredEmbedding(position=Position(7, 0), model_version="m1", text_digest="d7")
    }


def test_any_id_is_an_id(store: VectorStore) -> None:
    store.write([entry(product_id, unit(1, n)) for n, product_id in enumerate(NASTY)])
    assert set(store.get(NASTY)) == set(NASTY)
    assert set(ids(store.search(unit(1), 50))) == set(NASTY)
    store.remove(dict.fromkeys(NASTY, Position(1, 0)))
    assert store.get(NASTY) == {}


def test_what_is_written_is_found_at_once_and_in_order(store: VectorStore) -> None:
    store.write(
        [
            entry("far", unit(0, 1), name="Far", category="C", price=2.5),
            entry("near", unit(9, 1)),
            entry("same", unit(1), name="Same", category="D", price=None),
        ]
    )
    found = store.search(unit(1), 10)
    assert ids(found) == ["same", "near", "far"]
    expected = [1.0, float(unit(9, 1) @ unit(1)), 0.0]
    np.testing.assert_allclose([n.similarity_score for n in found], expected, atol=1e-5)
    assert (found[2].name, found[2].category, found[2].price) == ("Far", "C", 2.5)
    assert found[0].price is None
    assert found[0].embedding_updated_at == "2026-01-01T00:00:00.000+00:00"
    assert ids(store.search(unit(1), 2)) == ["same", "near"]


def test_on_a_tie_ids_decide(store: VectorStore) -> None:
    names = [f"p{number}" for number in range(20)]
    store.write([entry(product_id, unit(1, 2)) for product_id in reversed(names)])
    assert ids(store.search(unit(1, 2), 50)) == sorted(names)


def test_writes_that_are_under_way_at_once_all_land(store: VectorStore) -> None:
    ends = [
        store.begin_write([entry(f"{batch}-{n}", unit(n, batch, 1)) for n in range(150)])
        for batch in range(3)
    ]
    assert store.stored([]) == {}, "the store answers meanwhile"
    for end in reversed(ends):
        end()
    info = store.info()
    assert info is not None
    assert info.documents == 450
    assert len(store.search(unit(3, 1, 1), 500)) == 450


def test_a_bad_vector_is_refused_before_anything_is_under_way(store: VectorStore) -> None:
    with pytest.raises(ValueError, match="shape"):
        store.begin_write([entry("a", unit(1)), entry("b", unit(1)[:-1])])
    assert store.stored(["a"]) == {}


def test_an_older_embedding_is_ignored(store: VectorStore) -> None:
    store.write([entry("a", unit(1), at=5, name="new")])
    store.write([entry("a", unit(0, 1), at=4, name="old")])
    (found,) = store.search(unit(1), 5)
    assert (found.name, round(found.similarity_score, 5)) == ("new", 1.0)
    store.write([entry("a", unit(0, 1), at=5, name="same position")])
    assert store.search(unit(1), 5)[0].name == "same position"


def test_positions_compare_as_numbers(store: VectorStore) -> None:
    store.write([entry("a", unit(1), at=10)])
    store.write([entry("a", unit(0, 1), at=9)])
    assert store.stored(["a"])["a"].position == Position(10, 0)


def test_without_a_vector_only_the_metadata_changes(store: VectorStore) -> None:
    store.write([entry("a", unit(1), price=9, category="C")])
    store.write([entry("a", None, at=2, price=7, category="D"), entry("b", None, at=2)])
    (found,) = store.search(unit(1), 5)
    assert (found.product_id, found.price, found.category) == ("a", 7.0, "D")
    assert set(store.stored(["a", "b"])) == {"a"}
    store.write([entry("a", None, at=3, price=None)])
    assert store.search(unit(1), 5)[0].price is None
    np.testing.assert_array_equal(store.get(["a"])["a"], unit(1))


@pytest.mark.parametrize(
    "bad",
    [
        np.ones(DIMENSION - 1, np.float32),
        np.ones((1, DIMENSION), np.float32),
        np.full(DIMENSION, np.nan, np.float32),
        np.full(DIMENSION, np.inf, np.float32),
    ],
    ids=["short", "matrix", "nan", "infinite"],
)
def test_a_bad_vector_is_refused_and_nothing_is_written(store: VectorStore, bad: Vector) -> None:
    with pytest.raises(ValueError, match="b"):
        store.write([entry("a", unit(1)), entry("b", bad)])
    assert store.get(["a", "b"]) == {}


def test_removing_spares_what_is_newer(store: VectorStore) -> None:
    store.write([entry("a", unit(1), at=5), entry("b", unit(1), at=3)])
    store.remove({"a": Position(4, 0), "b": Position(4, 0), "never there": Position(9, 0)})
    assert ids(store.search(unit(1), 5)) == ["a"]
    assert set(store.get(["a", "b"])) == {"a"}


def test_categories_filter_and_never_inject(store: VectorStore) -> None:
    store.write([entry(c, unit(1, n), category=c) for n, c in enumerate(CATEGORIES)])
    for category in CATEGORIES:
        assert ids(store.search(unit(1), 9, SearchFilter(category=category))) == [category]
    assert store.search(unit(1), 9, SearchFilter(category='toys & games {new} | "x"')) == []
    assert store.search(unit(1), 9, SearchFilter(category="a")) == []


def test_prices_filter_inclusively(store: VectorStore) -> None:
    store.write([entry(f"p{n}", unit(1, n), price=float(n)) for n in range(1, 6)])
    store.write([entry("none", unit(1))])
    assert set(ids(store.search(unit(1), 9, SearchFilter(price_min=2, price_max=4)))) == {
        "p2",
        "p3",
        "p4",
    }
    assert set(ids(store.search(unit(1), 9, SearchFilter(price_max=1)))) == {"p1"}
    assert "none" not in ids(store.search(unit(1), 9, SearchFilter(price_min=0)))
    assert "none" in ids(store.search(unit(1), 9))


def test_a_rare_category_is_found_among_many(store: VectorStore) -> None:
    rng = np.random.default_rng(3)
    rows = [
        entry(f"p{n}", unit(*rng.normal(size=DIMENSION)), category="rare" if n % 300 == 7 else "c")
        for n in range(1500)
    ]
    store.write(rows)
    found = store.search(unit(1), 10, SearchFilter(category="rare"))
    assert set(ids(found)) == {"p7", "p307", "p607", "p907", "p1207"}


def test_info_counts(store: VectorStore) -> None:
    store.write([entry(f"p{n}", unit(1, n)) for n in range(10)])
    info = store.info()
    assert info is not None
    assert (info.name, info.dimension) == ("product:vectors", DIMENSION)
    assert (info.documents, info.indexed, info.failures) == (10, 10, 0)
    assert info.model_versions == ["m1"]
    assert info.bytes_per_product is None or info.bytes_per_product > 0


def test_health_and_closing_twice(store: VectorStore) -> None:
    assert store.health().part == "vectors"
    store.close()
    store.close()


def test_threads_may_share_one(store: VectorStore) -> None:
    def write_and_search(number: int) -> int:
        store.write([entry(f"p{number}", unit(1, number))])
        return len(store.search(unit(1), 100))

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(write_and_search, range(40)))
    assert min(counts) >= 1
    assert len(store.search(unit(1), 100)) == 40


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 60), limit=st.integers(1, 70))
def test_the_answer_is_that_of_brute_force(
    store: VectorStore, seed: int, count: int, limit: int
) -> None:
    store.drop_index(embeddings=True)
    store.create_index(SPEC)
    rng = np.random.default_rng(seed)
    vectors = {f"p{n}": unit(*rng.normal(size=DIMENSION)) for n in range(count)}
    store.write([entry(product_id, vector) for product_id, vector in vectors.items()])
    query = unit(*rng.normal(size=DIMENSION))

    found = store.search(query, limit)

    scores = {product_id: float(vector @ query) for product_id, vector in vectors.items()}
    best = sorted(scores.values(), reverse=True)[:limit]
    np.testing.assert_allclose([n.similarity_score for n in found], best, atol=1e-5)
    np.testing.assert_allclose(
        [n.similarity_score for n in found], [scores[i] for i in ids(found)], atol=1e-5
    )


def test_an_exact_search_is_exact_or_said_to_be_none(store: VectorStore) -> None:
    rng = np.random.default_rng(5)
    rows = {f"p{n}": unit(*rng.normal(size=DIMENSION)) for n in range(500)}
    store.write([entry(product_id, row) for product_id, row in rows.items()])
    query = unit(*rng.normal(size=DIMENSION))
    (found,) = store.search_many([query], 10, ef=1, exact=True)
    if not store.can_search_exactly:
        assert found == store.search(query, 10)
        return
    best = sorted((float(row @ query) for row in rows.values()), reverse=True)[:10]
    np.testing.assert_allclose([n.similarity_score for n in found], best, atol=1e-5)


def test_what_can_be_found_is_not_unindexed(store: VectorStore) -> None:
    store.write([entry("a", unit(1))])
    assert store.unindexed(["a"]) == []


def test_many_queries_get_what_each_alone_would(store: VectorStore) -> None:
    rows = [unit(1, n / 7, n % 3) for n in range(40)]
    store.write([entry(f"p-{n}", row) for n, row in enumerate(rows)])
    alone = [store.search(row, 5) for row in rows]
    assert store.search_many(rows, 5) == alone
    assert store.search_many(rows, 5, exact=True) == alone
    assert store.search_many(rows, 5, ef=100) == alone
    assert store.search_many([], 5) == []


def test_neighbors_are_found_by_the_vectors_that_are_stored(store: VectorStore) -> None:
    rows = {f"p-{n}": unit(1, n / 7, n % 3) for n in range(40)}
    store.write(
        [entry(i, row, category="even" if i[-1] in "02468" else "odd") for i, row in rows.items()]
    )
    asked = ["p-7", "never there", "p-2", "p-7"]
    for where in (None, SearchFilter(category="odd")):
        expected = {i: store.search(rows[i], 5, where) for i in ("p-7", "p-2")}
        assert store.neighbors(asked, 5, where) == expected
        assert store.neighbors(asked, 5, where, exact=True) == expected
        assert store.neighbors(asked, 5, where, ef=100) == expected
    assert ids(store.neighbors(["p-7"], 1)["p-7"]) == ["p-7"]
    assert store.neighbors(["p-7"], 0) == {"p-7": []}
    assert store.neighbors(["never there"], 5) == {}
    assert store.neighbors([], 5) == {}
    store.drop_index(embeddings=False)
    with pytest.raises(IndexMissing):
        store.neighbors(["p-7"], 5)


def test_categories_can_be_excluded(store: VectorStore) -> None:
    store.write([entry(f"p-{n}", unit(1, n), category=c) for n, c in enumerate(CATEGORIES)])
    for number, category in enumerate(CATEGORIES):
        where = SearchFilter(exclude_categories=(category,))
        found = {n.product_id for n in store.search(unit(1), 20, where)}
        assert found == {f"p-{n}" for n in range(len(CATEGORIES)) if n != number}
    nothing = SearchFilter(exclude_categories=tuple(CATEGORIES))
    assert store.search(unit(1), 20, nothing) == []
