"""The roles that the README describes can do all that is theirs, and nobody else reads anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest

from recsys_cli.domain import EventType, IndexSpec, Product, ProductEvent
from recsys_cli.errors import BackendRefused
from recsys_cli.generations import GenerationState
from recsys_cli.pipeline.embed import Target, begin, finish
from recsys_cli.pipeline.model import SharedModels
from recsys_cli.pipeline.products import put_product
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys
from tests.flow.test_permissions import CLAIM_IDLE_MS, consume, work
from tests.pinecone_server import PineconeServer
from tests.postgres import PostgresServer, running_postgres
from tests.readme import README, blocks

WORKER, NOBODY = "recsys_worker", "recsys_nobody"
ON_POSTGRES = {"EVENT_PROCESSOR_TYPE": "supabase", "VECTOR_STORE_TYPE": "supabase"}


def statements() -> list[str]:
    """Return what the README has an operator run for a worker."""
    found = blocks(README.read_text("utf-8"))
    (block,) = (b for b in found if (b.section, b.language) == ("Security", "sql"))
    simple, do, policies = block.body.partition("DO $$")
    return [*(line for line in simple.splitlines() if line), do + policies]


def grants() -> list[str]:
    """Return each privilege on each thing by itself, without the GRANT or REVOKE."""
    found = []
    for line in statements():
        if line.startswith("GRANT "):
            privileges, _, rest = line.removeprefix("GRANT ").partition(" ON ")
            kind = next((k for k in ("SCHEMA ", "SEQUENCE ") if rest.startswith(k)), "")
            names = rest.partition(" TO ")[0].removeprefix(kind)
            found += [
                f"{privilege} ON {kind}{name}"
                for privilege in privileges.split(", ")
                for name in names.split(", ")
            ]
    return found


def work_and_give_up(opened: Backends) -> None:
    """Do what a worker does; in the end an event is a dead letter."""
    work(opened)
    events = opened.get_event_processor()
    put_product(events, opened.get_catalog(), "bad", {"name": "Bad"})

    def fail(_: Sequence[Product]) -> None:
        raise MemoryError

    while events.status().pending or events.status().lag:
        consume(opened, fail)
    assert events.status().dead_letters == 1


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        yield running


@pytest.fixture
def shop(
    server: PostgresServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> PostgresServer:
    """A server on which an operator has run what ``recsys init --print-sql`` printed."""
    for name, value in server.settings.items():
        monkeypatch.setenv(name, value)
    printed = recsys_embedded("init", "--print-sql").out
    server.clear()
    with server.client() as client:
        client.execute(printed.encode())
        for role in (WORKER, NOBODY):
            if client.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount:
                client.execute(f"DROP OWNED BY {role}".encode())
                client.execute(f"DROP ROLE {role}".encode())
        client.execute(f"CREATE ROLE {NOBODY} LOGIN PASSWORD 'PASSWORD'".encode())
        for statement in statements():
            client.execute(statement.encode())
    return server


@contextmanager
def backends(server: PostgresServer, role: str, **more: str) -> Iterator[Backends]:
    environ = {"SUPABASE_DB_URL": server.url_at(server.port, user=f"{role}:PASSWORD")}
    settings = load({}, ON_POSTGRES | environ | more)
    with Backends(settings, claim_idle_ms=CLAIM_IDLE_MS) as opened:
        yield opened


def test_a_worker_can_do_all_that_is_its_own(shop: PostgresServer) -> None:
    with backends(shop, WORKER) as opened:
        assert not opened.get_event_processor().create_group()
        assert not opened.get_vector_store().create_index(IndexSpec())
        work_and_give_up(opened)


def test_beside_pinecone_a_worker_needs_the_notes(
    shop: PostgresServer, pinecone_server: PineconeServer
) -> None:
    with backends(shop, WORKER, **pinecone_server.settings) as opened:
        with pytest.raises(BackendRefused, match="permission denied for table notes"):
            opened.get_vector_store().create_index(IndexSpec())
        (grant,) = re.findall(r"`(GRANT .* ON recsys.notes .*)`", README.read_text("utf-8"))
        with shop.client() as client:
            client.execute(grant)
        opened.get_vector_store().create_index(IndexSpec())
        put_product(opened.get_event_processor(), opened.get_catalog(), "lamp", {"name": "Lamp"})
        consume(opened)
        assert opened.get_vector_store().get(["lamp"])


def test_the_queue_of_a_second_group_is_granted_too(shop: PostgresServer) -> None:
    with backends(shop, "postgres", PRODUCT_STREAM_GROUP="audit") as operator:
        assert operator.get_event_processor().create_group()
    with backends(shop, WORKER) as worker:
        with pytest.raises(BackendRefused, match="permission denied"):
            worker.get_event_processor().status()
        with shop.client() as client:
            found = client.execute("SELECT 'pgmq.q_' || queue FROM recsys.groups").fetchall()
            for (queue,) in found:
                client.execute(
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {queue} TO {WORKER};"
                    f"ALTER TABLE {queue} ENABLE ROW LEVEL SECURITY;"
                    f"CREATE POLICY worker ON {queue} TO {WORKER} USING (true)".encode()
                )
        worker.get_event_processor().publish(
            [ProductEvent(type=EventType.DELETE, product_id="lamp", fields={})]
        )
        consume(worker)
        status = worker.get_event_processor().status()
        assert {group.name: group.lag for group in status.groups} == {
            "audit": 1,
            "product-processors": 0,
        }


def test_a_worker_goes_on_beside_a_re_embed(
    shop: PostgresServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_DB_URL", shop.url)
    with backends(shop, WORKER) as worker, backends(shop, "postgres") as operator:
        events, catalog = worker.get_event_processor(), worker.get_catalog()
        for product_id in ("lamp", "lamp-2"):
            put_product(events, catalog, product_id, {"name": f"Desk {product_id}"})
        consume(worker)
        generations = operator.get_generations()
        token = generations.lock("operator", 60_000)
        (model,) = catalog.models()
        begun = generations.begin(token, model.version, IndexSpec())

        put_product(events, catalog, "lamp-3", {"name": "Desk lamp-3"})
        consume(worker)
        assert worker.get_generations().store(begun).stored(["lamp-3"])

        store = worker.get_generations().store(begun)
        generations.drop(token, begun.number)
        generations.unlock(token)
        late = next(worker.get_vector_store().entries())
        store.write(late)
        assert store.stored(["lamp"]) == {}

        recsys_embedded("reembed")
        put_product(events, catalog, "lamp-4", {"name": "Desk lamp-4"})
        consume(worker)
        found = worker.get_generations().all()
        assert [g.number for g in found if g.state is GenerationState.SERVING] == [3]
    monkeypatch.setenv("SUPABASE_DB_URL", shop.url_at(shop.port, user=f"{WORKER}:PASSWORD"))
    assert len(recsys_embedded("similar", "lamp", "--json").json["neighbors"]) == 3


def test_a_worker_leaves_a_generation_alone_that_got_no_index(shop: PostgresServer) -> None:
    with backends(shop, WORKER) as worker, backends(shop, "postgres") as operator:
        events, catalog = worker.get_event_processor(), worker.get_catalog()
        put_product(events, catalog, "lamp", {"name": "Lamp"})
        consume(worker)
        generations, models = worker.get_generations(), worker.get_model_factory()

        def look() -> list[Target]:
            model = SharedModels(events, catalog, models).current()
            followed = [g for g in generations.all() if g.is_followed]
            return [Target(g, generations.store(g), model) for g in followed]

        token = operator.get_generations().lock("operator", 60_000)
        operator.get_generations().begin(token, "any", IndexSpec())
        begun = begin(catalog.get(["lamp"]), look())
        assert len(begun.targets) == 2
        # As if the run was refused its index, or killed.
        operator.get_generations().unlock(token)
        finish(begun, catalog, look)


def test_a_policy_with_a_subquery_goes_with_a_re_embed(shop: PostgresServer) -> None:
    with shop.client() as client:
        client.execute(
            f"CREATE POLICY others ON recsys.product_vectors_1 TO {NOBODY} USING (EXISTS"
            " (SELECT FROM recsys.products AS p WHERE p.id = product_id))".encode()
        )
    with backends(shop, "postgres") as operator:
        generations = operator.get_generations()
        token = generations.lock("operator", 60_000)
        number = generations.begin(token, "any", IndexSpec()).number
    with shop.client() as client:
        found = client.execute(
            "SELECT qual FROM pg_policies WHERE policyname = 'others' AND tablename = %s",
            [f"product_vectors_{number}"],
        ).fetchall()
    assert f"p.id = product_vectors_{number}.product_id" in str(found)


@pytest.mark.parametrize("needless", grants())
def test_a_worker_needs_each_permission(shop: PostgresServer, needless: str) -> None:
    with shop.client() as client:
        client.execute(f"REVOKE {needless} FROM {WORKER}".encode())
    with backends(shop, WORKER) as opened, pytest.raises(BackendRefused, match="permission denied"):
        work_and_give_up(opened)


def test_who_may_create_nothing_is_told_what_to_do(
    shop: PostgresServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop.client() as client:
        client.execute("DROP SCHEMA recsys CASCADE")
        client.execute(f"GRANT pg_read_all_data TO {NOBODY}".encode())
    url = shop.url_at(shop.port, user=f"{NOBODY}:PASSWORD")
    monkeypatch.setenv("SUPABASE_DB_URL", url)
    for command in (["lag"], ["init"], ["consume", "--drain"], ["similar", "lamp"]):
        said = recsys_embedded(*command, exits=5).err
        assert said.count("\nerror: ") == 1
        assert "does not allow this role to do that: permission denied for" in said
        assert "let a role that may create it run: recsys init --print-sql" in said


def test_nobody_else_reads_anything(shop: PostgresServer) -> None:
    with backends(shop, WORKER) as opened:
        work(opened)
    with shop.client() as client:
        found = client.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname = 'recsys'"
        ).fetchall()
        tables = [str(name) for (name,) in found]
        assert len(tables) >= 10
    url = shop.url_at(shop.port, user=f"{NOBODY}:PASSWORD")
    with psycopg.connect(url, autocommit=True) as client:
        for table in [*tables, "pgmq.q_product_updates"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(f"SELECT FROM {table}".encode())
    # Also where somebody grants it all, as Supabase's default privileges may: there is no policy.
    with shop.client() as owner:
        owner.execute(f"GRANT USAGE ON SCHEMA recsys TO {NOBODY}".encode())
        owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA recsys TO {NOBODY}".encode())
    with psycopg.connect(url, autocommit=True) as client:
        for table in tables:
            assert client.execute(f"SELECT FROM {table}".encode()).rowcount == 0
