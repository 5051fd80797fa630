"""What is pgvector's own: how it finds enough, what it survives, and who may read it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from recsys_cli.connections.postgres import PostgresConnection
from recsys_cli.domain import (
    IndexSpec,
    Neighbor,
    Position,
    ProductMetadata,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.errors import BackendUnavailable, IndexMismatch, IndexMissing, UsageError
from recsys_cli.ports import Embedding, Matrix, Vector
from recsys_cli.vectors.pgvector import Pgvector
from recsys_cli.vectors.pgvector_generations import PgvectorGenerations
from recsys_cli.vectors.pgvector_table import Extension, Pgvectors
from tests.postgres import PostgresServer, running_postgres
from tests.servers import wait_until

DIMENSION = 16
SPEC = IndexSpec(dimension=DIMENSION)
OLD = Extension("public", "0.7.4")
TABLE = "recsys.product_vectors_1"
COUNT = 3000
BRANDED = SearchFilter(attributes={"brand": ("b3",)})


@pytest.fixture
def connection(postgres_server: PostgresServer) -> Iterator[PostgresConnection]:
    opened = PostgresConnection(postgres_server.url, schema="recsys")
    yield opened
    opened.close()


@pytest.fixture
def store(connection: PostgresConnection) -> Pgvector:
    made = opened(connection)
    made.create_index(SPEC)
    return made


def opened(connection: PostgresConnection, dimension: int = DIMENSION) -> Pgvector:
    return Pgvector(connection, index="product:vectors", dimension=dimension)


def units(count: int, seed: int = 5) -> Matrix:
    rows = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    found: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def entry(product_id: str, vector: Vector | None, at: int = 1, **facts: object) -> Embedding:
    source = StoredEmbedding(position=Position(at, 0), model_version="m", text_digest="d")
    return Embedding(product_id, vector, ProductMetadata(**facts), source, "now")  # type: ignore[arg-type]


def fill(store: Pgvector, rows: Matrix) -> None:
    """Write p-0, p-1, ...; one of 300 is rare, one of 100 costs nothing."""
    for start in range(0, len(rows), 500):
        store.write(
            [
                entry(
                    f"p-{n}",
                    rows[n],
                    category="rare" if n % 300 == 7 else "common",
                    price=float(n % 100),
                    attributes={"brand": f"b{n % 200}"},
                )
                for n in range(start, min(start + 500, len(rows)))
            ]
        )


def analyze(server: PostgresServer) -> None:
    with server.client() as client:
        client.execute(f"ANALYZE {TABLE}".encode())


def indexes_of_attributes(server: PostgresServer) -> list[bool]:
    """Return of each whether it was used."""
    with server.client() as client:
        found = client.execute(
            "SELECT idx_scan > 0 FROM pg_stat_user_indexes JOIN pg_indexes"
            " ON indexname = indexrelname WHERE indexdef LIKE '%attributes%'"
        ).fetchall()
    return [bool(used) for (used,) in found]


def ids(found: list[Neighbor]) -> list[str]:
    return [neighbor.product_id for neighbor in found]


def best(rows: Matrix, query: Vector, limit: int, every: int = 1, offset: int = 0) -> list[str]:
    allowed = np.arange(offset, len(rows), every)
    order = np.argsort(-(rows[allowed] @ query), kind="stable")
    return [f"p-{n}" for n in allowed[order[:limit]]]


@pytest.mark.parametrize("is_old", [False, True], ids=["iterative", "before 0.8"])
def test_filters_that_leave_few_of_many_still_fill_the_list(
    store: Pgvector, postgres_server: PostgresServer, is_old: bool
) -> None:
    rows = units(COUNT)
    fill(store, rows)
    analyze(postgres_server)
    # So that it goes through the graph, as it does where there are many more products.
    through_the_graph = f"{postgres_server.url}?options=-c%20enable_seqscan%3Doff"
    connection = PostgresConnection(through_the_graph, schema="recsys")
    asked = Pgvector(
        connection,
        index="product:vectors",
        dimension=DIMENSION,
        pgvectors=Pgvectors(connection, OLD if is_old else None),
    )
    for query in rows[:5]:
        rare = asked.search(query, 10, SearchFilter(category="rare"))
        assert ids(rare) == best(rows, query, 10, every=300, offset=7)
        cheap = asked.search(query, 10, SearchFilter(price_max=0))
        assert len(set(ids(cheap)) & set(best(rows, query, 10, every=100))) >= 9
        branded = asked.search(query, 10, BRANDED)
        assert len(branded) == 10
        assert {int(i.removeprefix("p-")) % 200 for i in ids(branded)} == {3}
        wide = asked.search(query, 1500)
        assert len(wide) == 1500
        scores = [round(neighbor.similarity_score, 6) for neighbor in wide]
        assert scores == sorted(scores, reverse=True)
    asked.close()


def test_an_index_of_an_attribute_is_used_and_goes_with_the_index(
    connection: PostgresConnection, postgres_server: PostgresServer
) -> None:
    branded = IndexSpec(dimension=DIMENSION, attributes=("brand",))
    store = opened(connection)
    store.create_index(branded)
    fill(store, units(COUNT))
    analyze(postgres_server)
    assert len(store.search_many([units(1)[0]], 99, BRANDED, exact=True)[0]) == COUNT // 200
    store.close()  # so that the server counts it
    assert indexes_of_attributes(postgres_server) == [True]
    for made in (branded, SPEC):
        assert store.drop_index(embeddings=False)
        assert indexes_of_attributes(postgres_server) == []
        assert store.create_index(made)


def test_recall_is_that_of_ef_and_exact_search_needs_no_graph(
    connection: PostgresConnection, postgres_server: PostgresServer
) -> None:
    store = opened(connection)
    store.create_index(IndexSpec(dimension=DIMENSION, m=2, ef_construction=4))
    rows = units(COUNT)
    fill(store, rows)
    analyze(postgres_server)
    queries = list(rows[:50])
    truth = [best(rows, query, 10) for query in queries]

    def recall(ef: int | None, *, exact: bool = False) -> float:
        found = store.search_many(queries, 10, ef=ef, exact=exact)
        hits = [len(set(ids(mine)) & set(true)) for mine, true in zip(found, truth, strict=True)]
        return sum(hits) / (10 * len(queries))

    assert recall(1) + 0.1 < recall(1000) < 1
    assert recall(None, exact=True) == 1
    assert [ids(mine) for mine in store.search_many(queries, 10, exact=True)] == truth


def test_the_usual_index_finds_the_true_neighbors(
    store: Pgvector, postgres_server: PostgresServer
) -> None:
    rows = units(COUNT)
    fill(store, rows)
    analyze(postgres_server)
    found = store.neighbors([f"p-{n}" for n in range(100)], 10)
    hits = [len(set(ids(found[f"p-{n}"])) & set(best(rows, rows[n], 10))) for n in range(100)]
    assert sum(hits) / 1000 >= 0.99


def test_settings_do_not_outlive_the_statement(
    store: Pgvector, connection: PostgresConnection
) -> None:
    store.write([entry("a", units(1)[0])])
    store.search_many([units(1)[0]], 1, ef=777)
    names = "current_setting('hnsw.ef_search'), current_setting('hnsw.iterative_scan')"
    with connection.transaction() as session:
        assert session.execute(f"SELECT {names}".encode()).fetchone() == ("40", "off")
    with connection.transaction() as session:
        assert session.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_a_product_twice_in_a_batch_ends_as_one_after_the_other(store: Pgvector) -> None:
    one, other = units(2)
    store.write(
        [
            entry("a", one, at=1, name="first"),
            entry("b", one, at=1),
            entry("a", other, at=3, name="third"),
            entry("a", one, at=2, name="second"),
            entry("a", None, at=4, name="fourth"),
        ]
    )
    (found, *_) = store.search(other, 5)
    assert (found.product_id, found.name, round(found.similarity_score, 5)) == ("a", "fourth", 1)
    assert store.stored(["a"])["a"].position == Position(4, 0)


def test_a_table_that_was_dropped_is_missed_and_made_again(
    store: Pgvector, postgres_server: PostgresServer
) -> None:
    row = units(1)[0]
    store.write([entry("a", row)])
    with postgres_server.client() as client:
        client.execute(f"DROP TABLE {TABLE}".encode())
    with pytest.raises(IndexMissing) as error:
        store.search(row, 1)
    assert error.value.hint == "recsys index create"
    assert store.info() is None
    assert (store.get(["a"]), store.stored(["a"]), list(store.entries())) == ({}, {}, [])
    assert store.neighbors(["a"], 1) == {}
    store.remove({"a": Position(9, 0)})
    store.write([entry("a", row)])
    with pytest.raises(IndexMissing):
        store.search(row, 1)
    store.create_index(SPEC)
    assert ids(store.search(row, 1)) == ["a"]


def test_who_make_one_table_at_once_all_do(
    connection: PostgresConnection, postgres_server: PostgresServer
) -> None:
    # Each knows by now that there is none, and has it from the cache of its session.
    connections = [PostgresConnection(postgres_server.url, schema="recsys") for _ in range(4)]
    stores = [opened(one) for one in (connection, *connections)]
    for number, one in enumerate((connection, *connections)):
        Pgvector(one, index=f"warm-{number}", dimension=DIMENSION).create_index(SPEC)
    assert [store.dimension() for store in stores] == [None] * 5
    with ThreadPoolExecutor(len(stores)) as pool:
        made = [pool.submit(store.create_index, SPEC) for store in stores]
    assert sorted(one.result() for one in made) == [False] * 4 + [True]
    for one in connections:
        one.close()


def test_a_schema_that_was_dropped_is_made_again(
    connection: PostgresConnection, postgres_server: PostgresServer
) -> None:
    generations = PgvectorGenerations(connection, index="product:vectors", dimension=DIMENSION)
    token = generations.lock("a test", 60_000)
    generations.begin(token, "m-2", SPEC)
    with postgres_server.client() as client:
        client.execute("DROP SCHEMA recsys CASCADE")
    assert [g.number for g in generations.all()] == [1]
    assert generations.lock("another", 60_000) == 1
    store = generations.store(generations.all()[0])
    store.write([entry("a", units(1)[0])])
    assert store.create_index(SPEC)


def test_a_server_that_restarts_between_calls() -> None:
    with running_postgres() as server:
        connection = PostgresConnection(server.url, schema="recsys")
        store, row = opened(connection), units(1)[0]
        store.create_index(SPEC)
        store.write([entry("a", row)])
        server.stop()
        for call in (
            lambda: store.search(row, 1),
            lambda: store.write([entry("b", row)]),
            store.info,
            lambda: store.stored(["a"]),
            store.health,
        ):
            with pytest.raises(BackendUnavailable):
                call()
        server.start()

        def is_back() -> bool:
            try:
                return ids(store.search(row, 1)) == ["a"]
            except BackendUnavailable:
                return False

        wait_until(is_back, 20, "the store answers again")
        store.write([entry("b", row)])
        assert set(store.stored(["a", "b"])) == {"a", "b"}
        connection.close()


def test_vectors_of_another_size_are_another_index(
    store: Pgvector, connection: PostgresConnection
) -> None:
    store.write([entry("a", units(1)[0])])
    longer = opened(connection, DIMENSION * 2)
    ones = np.ones(DIMENSION * 2, np.float32)
    for call in (
        lambda: longer.write([entry("b", ones)]),
        lambda: longer.search(ones, 1),
        lambda: longer.create_index(IndexSpec(dimension=DIMENSION * 2)),
    ):
        with pytest.raises(IndexMismatch, match=str(DIMENSION)):
            call()
    assert set(store.stored(["a", "b"])) == {"a"}


def test_an_empty_table_of_another_size_gives_way(connection: PostgresConnection) -> None:
    first = opened(connection)
    first.write([entry("a", units(1)[0])])
    first.remove({"a": Position(1, 0)})
    assert opened(connection, 32).create_index(IndexSpec(dimension=32))


@pytest.mark.parametrize(("m", "ef_construction"), [(101, 400), (16, 31), (2, 3), (16, 1001)])
def test_limits_of_pgvector_are_a_sentence(
    connection: PostgresConnection, m: int, ef_construction: int
) -> None:
    spec = IndexSpec(dimension=DIMENSION, m=m, ef_construction=ef_construction)
    with pytest.raises(UsageError, match=f"m {m} and ef_construction {ef_construction}"):
        opened(connection).create_index(spec)


def test_what_no_search_can_find_is_told(store: Pgvector, postgres_server: PostgresServer) -> None:
    store.write([entry("a", units(1)[0]), entry("zero", units(1)[0])])
    with postgres_server.client() as client:
        client.execute(
            "UPDATE recsys.product_vectors_1 SET vector = %s WHERE product_id = 'zero'",
            [str([0] * DIMENSION)],
        )
    assert store.unindexed(["a", "zero", "never there"]) == ["zero"]
    info = store.info()
    assert info is not None
    assert (info.documents, info.indexed, info.failures) == (2, 1, 1)


def test_long_texts_and_ids_that_no_text_of_postgres_can_be(store: Pgvector) -> None:
    row = units(1)[0]
    category = "Ω" * 100_000
    store.write([entry("a", row, category=category, attributes={"brand": category})])
    where = SearchFilter(category=category, attributes={"brand": (category,)})
    assert ids(store.search(row, 5, where)) == ["a"]
    assert store.search(row, 5, SearchFilter(category=category[:-1])) == []
    assert store.get(["a\0b"]) == {}
    assert store.neighbors(["a\0b"], 5) == {}


def test_nobody_else_reads_it(store: Pgvector, postgres_server: PostgresServer) -> None:
    store.write([entry("a", units(1)[0])])
    with postgres_server.client() as client:
        secured = client.execute(
            "SELECT relname, relrowsecurity FROM pg_class AS c"
            " JOIN pg_namespace AS n ON n.oid = relnamespace"
            " WHERE nspname = 'recsys' AND relkind = 'r'"
        ).fetchall()
        granted = client.execute(
            "SELECT grantee FROM information_schema.role_table_grants"
            " WHERE table_schema = 'recsys' AND grantee <> 'postgres'"
        ).fetchall()
    assert {"product_vectors_1", "generations", "generation_locks"} <= {n for n, _ in secured}
    assert all(is_secured for _, is_secured in secured)
    assert granted == []
