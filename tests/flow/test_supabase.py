"""The main job with events and catalog on a real Postgres."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Recsys
from tests.postgres import PostgresServer, running_postgres
from tests.readme import CHECKOUT, README, blocks
from tests.servers import wait_until

SECTION = "On Supabase"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'recsys'"
SAMPLES = Path(__file__).parents[2] / "sample_data"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        yield running


@pytest.fixture
def recsys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], server: PostgresServer
) -> Recsys:
    server.clear()
    monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "supabase")
    monkeypatch.setenv("SUPABASE_DB_URL", server.url)
    return Recsys(monkeypatch, capsys)


def test_the_readme_does_what_it_says(
    recsys: Recsys, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {b.language: b.body for b in blocks(README.read_text("utf-8")) if b.section == SECTION}
    monkeypatch.chdir(CHECKOUT)
    for line in found["sh"].splitlines():
        verb, *words = shlex.split(line)
        if verb == "export":
            for name, _, value in (word.partition("=") for word in words):
                monkeypatch.setenv(name, server.url if name == "SUPABASE_DB_URL" else value)
        else:
            assert verb == "recsys"
            recsys(*words)
    with server.client() as client:
        client.execute(found["sql"].encode())
    recsys("consume", "--drain")
    assert recsys("product", "show", "prod-101", "--json").json["price"] == 34.5


def test_looking_at_it(recsys: Recsys) -> None:
    feed = SAMPLES / "products.csv"
    recsys("init")
    recsys("import", feed)
    assert recsys("lag", "--json").json["lag"] > 0
    recsys("consume", "--drain")
    status = recsys("lag", "--json").json
    assert (status["lag"], status["pending"], status["length"]) == (0, 0, 0)
    recsys("doctor")
    assert recsys("pending").out.splitlines()[1:] == []
    assert recsys("dlq", "list").out.splitlines()[1:] == []
    (events, *_) = recsys("health", "--json").json_lines
    assert events["version"].startswith("Postgres ")
    assert "vector 0." in events["details"]


@pytest.mark.usefixtures("recsys")
def test_python_publishes_consumes_and_asks_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process of its own: sessions are open before anything of the vectors is imported.
    monkeypatch.setenv("VECTOR_STORE_TYPE", "supabase")
    (snippet,) = (b.body for b in blocks(README.read_text("utf-8")) if b.language == "python")
    done = subprocess.run(
        [sys.executable, "-c", snippet], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mug-")


def test_printed_sql_makes_everything(recsys: Recsys, server: PostgresServer) -> None:
    printed = recsys("init", "--print-sql").out
    with server.client() as client:
        # Twice, as it may be run again.
        client.execute(printed.encode())
        client.execute(printed.encode())
        row = client.execute("SELECT to_regclass('recsys.letters')::text").fetchone()
    assert row == ("recsys.letters",)
    assert "group product-processors exists already" in recsys("init").err


def test_printed_sql_leaves_alone_what_is_there(recsys: Recsys, server: PostgresServer) -> None:
    printed = recsys("init", "--print-sql").out
    with server.client() as client, server.client() as visitor:
        client.execute("CREATE SCHEMA recsys CREATE TABLE products (id text, price text)")
        client.execute(printed.encode())
        found = client.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'recsys'::regnamespace"
            " AND relkind = 'r' AND NOT relrowsecurity"
        ).fetchall()
        assert found == [("products",)], "it is the shop's own"
        tables = [str(name) for (name,) in client.execute(TABLES)]
        assert len(tables) >= 8
        with visitor.transaction():
            for table in tables:
                visitor.execute(f"SELECT FROM recsys.{table}".encode())
            client.execute("SET lock_timeout = '2s'")
            client.execute(printed.encode())


def test_printed_sql_does_not_bring_back_the_first_generation(
    recsys: Recsys, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTOR_STORE_TYPE", "supabase")
    printed = recsys("init", "--print-sql").out
    recsys.stock(SAMPLES / "products.csv")
    recsys("reembed", "--keep", 0)
    with server.client() as client:
        client.execute(printed.encode())
        found = [str(name) for (name,) in client.execute(TABLES)]
    assert [name for name in found if "vectors" in name] == ["product_vectors_2"]


def test_server_that_is_gone_is_one_sentence_and_no_password(
    recsys: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_DB_URL", "postgresql://me:geheim@127.0.0.1:1/shop")
    result = recsys("lag", exits=5)
    assert "127.0.0.1:1/shop" in result.err
    assert "geheim" not in result.err + result.out


def test_password_is_not_shown(recsys: Recsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_DB_URL", "postgresql://me:geheim@127.0.0.1:1/shop")
    assert "geheim" not in recsys("config", "show").out


def test_restarted_server_loses_nothing(recsys: Recsys, server: PostgresServer) -> None:
    recsys("import", SAMPLES / "products.csv")
    waiting = recsys("lag", "--json").json["lag"]
    server.stop()
    recsys("lag", exits=5)
    server.start()
    wait_until(lambda: recsys("lag", exits=None).exit_code == 0, 20, "the server answers again")
    assert recsys("lag", "--json").json["lag"] == waiting > 0
