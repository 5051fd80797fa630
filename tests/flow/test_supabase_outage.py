"""What a night does to Postgres: consumers wait, say what is wrong or gone, and go on."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_cli.connections.postgres import PostgresConnection
from recsys_cli.errors import BackendUnavailable
from recsys_cli.events.supabase_groups import PART
from tests.commands import Recsys, recsys_process
from tests.nights import RunningConsumer
from tests.postgres import PostgresServer, running_postgres
from tests.servers import wait_until

ROLE, PASSWORD = "shop", "first"


class Night:
    """A Postgres of its own, all parts on it, and one consumer, who is the owner of everything."""

    def __init__(self, recsys: Recsys, folder: Path, server: PostgresServer) -> None:
        self.recsys = recsys
        self.folder = folder
        self.server = server
        self.consumers: list[RunningConsumer] = []

    def begin(self) -> RunningConsumer:
        """Publish 50 products, and have them consumed."""
        self.publish("before")
        consumer = RunningConsumer(self.folder / f"{len(self.consumers)}.log")
        self.consumers.append(consumer)
        self.has(50)
        return consumer

    def publish(self, prefix: str, count: int = 50) -> None:
        self.recsys("import", self.feed(prefix, count))

    def feed(self, prefix: str, count: int = 50) -> Path:
        path = self.folder / f"{prefix}.jsonl"
        rows = ({"id": f"{prefix}-{n}", "name": f"Lamp {prefix} {n}"} for n in range(count))
        path.write_text("\n".join(map(json.dumps, rows)))
        return path

    def has(self, documents: int) -> None:
        def is_so() -> bool:
            info = self.recsys("index", "info", "--json", exits=None)
            return info.exit_code == 0 and info.json["documents"] == documents

        wait_until(is_so, 40, f"{documents} are embedded")

    def is_settled(self) -> bool:
        status = self.recsys("lag", "--json").json
        return (status["lag"], status["pending"], status["dead_letters"]) == (0, 0, 0)

    def goes_on(self, consumer: RunningConsumer) -> None:
        self.publish("after")
        self.has(100)
        wait_until(self.is_settled, 10, "and nothing is left over")
        assert "lost" not in consumer.said
        consumer.ends_well()

    def execute(self, *statements: str) -> None:
        with self.server.client() as client:
            for statement in statements:
                client.execute(statement.encode())

    def others(self) -> int:
        with self.server.client() as client:
            return client.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).rowcount

    def hang_up(self) -> None:
        """End the sessions of everybody else."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        with running.client() as client:
            client.execute(f"CREATE ROLE {ROLE} SUPERUSER LOGIN")
        yield running


@pytest.fixture
def night(
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    server: PostgresServer,
) -> Iterator[Night]:
    night = Night(recsys_embedded, tmp_path, server)
    night.execute(
        "SELECT pgmq.drop_queue(queue_name) FROM pgmq.list_queues()",
        "DROP SCHEMA IF EXISTS recsys CASCADE",
        f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'",
    )
    monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "supabase")
    monkeypatch.setenv("VECTOR_STORE_TYPE", "supabase")
    monkeypatch.setenv("SUPABASE_DB_URL", server.url.replace("postgres@", f"{ROLE}:{PASSWORD}@", 1))
    yield night
    for consumer in night.consumers:
        consumer.process.kill()
        consumer.process.wait()
    if server.process is None:
        server.start()
    for _, end, _ in TROUBLES.values():
        night.execute(*end)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "crashed"])
def test_a_restart_loses_nothing(kill: bool, night: Night) -> None:
    running = night.begin()
    night.server.stop(kill=kill)
    running.says("trying again in")
    refused = night.recsys("import", night.feed("after"), exits=5)
    assert f"127.0.0.1:{night.server.port}/postgres" in refused.err
    night.server.start()
    running.says("answers again")
    assert "gone" not in running.said
    night.goes_on(running)


def test_an_import_that_a_crash_interrupts_is_finished_by_running_it_again(night: Night) -> None:
    feed = night.feed("before", 20_000)
    process = recsys_process("import", feed)

    def is_under_way() -> bool:
        status = night.recsys("lag", "--json").json
        return int(status["length"]) >= 2_000

    wait_until(is_under_way, 30, "some are published")
    night.server.stop(kill=True)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 5
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    night.server.start()
    published = night.recsys("lag", "--json").json["length"]
    assert 2_000 <= published < 20_000

    night.recsys("import", feed)

    # What was published and not noted when the server crashed is published twice.
    assert 20_000 <= night.recsys("lag", "--json").json["length"] <= 22_000
    assert night.recsys("import", feed, "--json").json["unchanged"] == 20_000


TROUBLES = {
    "read only": (
        ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"),
        (
            "SET default_transaction_read_only = off",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        ),
        "takes no writes",
    ),
    "no connections left": (
        (f"ALTER ROLE {ROLE} NOSUPERUSER CONNECTION LIMIT 0",),
        (f"ALTER ROLE {ROLE} SUPERUSER CONNECTION LIMIT -1",),
        "too many connections",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_server_that_cannot_for_now_is_waited_for(trouble: str, night: Night) -> None:
    begin, end, sentence = TROUBLES[trouble]
    running = night.begin()
    running.process.send_signal(signal.SIGSTOP)
    night.execute(*begin)
    night.hang_up()
    running.process.send_signal(signal.SIGCONT)
    running.says(sentence)
    running.says("trying again in")
    refused = night.recsys("import", night.feed("after"), exits=5)
    assert sentence in refused.err
    night.execute(*end)
    running.says("answers again")
    night.goes_on(running)


def test_sessions_that_break_off_again_and_again_cost_nothing(night: Night) -> None:
    running = night.begin()
    for n in range(10):
        night.publish(f"while-{n}", 200)
        night.hang_up()
    night.has(2_050)
    wait_until(night.is_settled, 20, "and nothing is left over")
    assert "lost" not in running.said
    running.ends_well()


def test_a_session_that_was_ended_while_nobody_used_it_is_not_noticed(night: Night) -> None:
    with contextlib.closing(PostgresConnection(night.server.url, schema="recsys")) as connection:
        connection.health("events")
        night.hang_up()
        wait_until(lambda: not night.others(), 10, "it is gone")
        connection.health("events")


def test_a_transaction_that_breaks_off_leaves_nothing(night: Night) -> None:
    connection = PostgresConnection(night.server.url, schema="recsys")
    insert = "INSERT INTO recsys.streams VALUES ('half', 'half')"

    def break_off() -> None:
        with connection.transaction(PART) as session:
            session.execute(insert)
            night.hang_up()
            session.execute(insert)

    with contextlib.closing(connection):
        with pytest.raises(BackendUnavailable, match=str(night.server.port)):
            break_off()
        with connection.transaction(PART) as session:
            found = session.execute("SELECT count(*) FROM recsys.streams").fetchone()
    assert found == (0,)


@pytest.mark.parametrize("what", ["SCHEMA recsys", "TABLE recsys.groups", "TABLE recsys.products"])
def test_what_somebody_dropped_is_made_again(what: str, night: Night) -> None:
    running = night.begin()
    night.execute(f"DROP {what} CASCADE")
    if "products" not in what:
        running.says("the stream's consumer group was gone")
    night.publish("before")
    night.publish("after")
    night.has(100)
    wait_until(night.is_settled, 10, "and nothing is left over")
    assert night.recsys("similar", "before-7").out
    running.ends_well()


def test_a_queue_that_somebody_dropped_is_made_again(night: Night) -> None:
    running = night.begin()
    wait_until(night.is_settled, 10, "it has looked round")
    night.execute("SELECT pgmq.drop_queue('product_updates')")
    # Or, where it looks round before it asks for events, that the stream has gone back.
    noticed = ("the stream's consumer group was gone", "the stream has gone back")
    wait_until(lambda: any(text in running.said for text in noticed), 30, "it says so")
    night.publish("after")
    night.has(100)
    wait_until(night.is_settled, 10, "and nothing is left over")
    running.ends_well()


def test_a_password_that_was_changed_ends_a_consumer_with_one_sentence(night: Night) -> None:
    running = night.begin()
    night.execute(f"ALTER ROLE {ROLE} PASSWORD 'second'")
    night.hang_up()
    assert running.process.wait(timeout=20) == 5
    assert f"error: Postgres at 127.0.0.1:{night.server.port}" in running.said
    assert "the password in SUPABASE_DB_URL" in running.said
    assert PASSWORD not in running.said
    assert "Traceback" not in running.said
