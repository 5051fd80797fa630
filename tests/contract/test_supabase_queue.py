"""What the queue on pgmq promises beyond the port: that it is pgmq, and comes back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import NoReturn

import psycopg
import pytest

from recsys_cli.connections.postgres import PostgresConnection
from recsys_cli.deliveries import UndecodableEvent
from recsys_cli.domain import EventType, Position, ProductEvent
from recsys_cli.errors import GroupMissing
from recsys_cli.events.supabase_alarm import Alarm
from recsys_cli.ports import EventProcessor
from tests.contract.backends.supabase import SupabaseBackend
from tests.pooler import transaction_pooler
from tests.postgres import PostgresServer

QUEUE = "product_updates"
SENT = (
    """{"event_type": "create", "product_id": "p-1", "timestamp": "", "data": {"name": "Lamp"}}"""
)


@pytest.fixture
def events(supabase_backend: SupabaseBackend, closing: Callable[[object], None]) -> EventProcessor:
    """The stream with its one group."""
    events = supabase_backend.events()
    closing(events)
    events.create_group()
    return events


def gone(product_id: str) -> ProductEvent:
    return ProductEvent(type=EventType.DELETE, product_id=product_id, fields={})


def test_plain_pgmq_reaches_every_group_at_one_position(
    supabase_backend: SupabaseBackend,
    postgres_session: PostgresServer,
    closing: Callable[[object], None],
) -> None:
    ours, other = supabase_backend.events(), supabase_backend.events(group="audit")
    for events in (ours, other):
        closing(events)
        events.create_group()
    with postgres_session.client() as client:
        row = client.execute("SELECT pgmq.send('product_updates', %s::jsonb)", [SENT]).fetchone()
    assert row is not None
    for events in (ours, other):
        (delivery,) = events.receive("a", 10, 0)
        assert delivery.position == Position(int(str(row[0])), 0)
        assert isinstance(delivery.event, ProductEvent)
        assert delivery.event.fields == {"name": "Lamp"}


def test_what_was_sent_before_we_came_is_waiting_too(
    supabase_backend: SupabaseBackend,
    postgres_session: PostgresServer,
    closing: Callable[[object], None],
) -> None:
    with postgres_session.client() as client:
        client.execute("SELECT pgmq.create('product_updates')")
        client.execute("SELECT pgmq.send('product_updates', %s::jsonb)", [SENT])
    events = supabase_backend.events()
    closing(events)
    events.create_group()
    ((position, event),) = events.backlog()
    assert isinstance(event, ProductEvent)
    assert position <= Position.parse(events.status().last_entry_id)
    assert events.publish([gone("p-2")]) > [position]


def test_other_programs_read_what_we_publish(
    events: EventProcessor,
    postgres_session: PostgresServer,
) -> None:
    event = ProductEvent(type=EventType.CREATE, product_id="p-1", fields={"name": "Lamp"})
    (position,) = events.publish([event])
    with postgres_session.client() as client:
        rows = client.execute(
            "SELECT msg_id, message ->> 'product_id' FROM pgmq.read('product_updates', 60, 10)"
        ).fetchall()
    assert rows == [(position.major, "p-1")]
    assert events.receive("a", 10, 0) == [], "another program holds it"


def test_looking_on_is_no_attempt(
    events: EventProcessor,
    supabase_backend: SupabaseBackend,
    postgres_session: PostgresServer,
    closing: Callable[[object], None],
) -> None:
    events.publish([gone("p-1"), gone("p-2")])
    with postgres_session.client() as client:
        for _ in range(6):
            client.execute("SELECT pgmq.read('product_updates', 0, 10)")
    assert [delivery.attempt for delivery in events.receive("a", 10, 0)] == [1, 1]
    # It was killed; what it held counts.
    successor = supabase_backend.events()
    closing(successor)
    assert [delivery.attempt for delivery in successor.receive("a", 10, 0)] == [2]


@pytest.mark.parametrize(
    "message",
    [
        '{"event_type": 7, "product_id": null}',
        '{"product_id": []}',
        "[1]",
        '"text"',
        None,
        '{"event_type": "update", "product_id": "p-1", "data": {"price": 1e5000}}',
        '{"event_type": "update", "product_id": "p-1", "data": '
        + '{"a": ' * 1200
        + "1"
        + "}" * 1201,
    ],
    ids=["types", "no type", "array", "text", "NULL", "too large", "too deep"],
)
def test_strange_messages_are_delivered_as_such(
    events: EventProcessor,
    postgres_session: PostgresServer,
    message: str | None,
) -> None:
    with postgres_session.client() as client:
        client.execute("SELECT pgmq.send('product_updates', %s::jsonb)", [message])
    assert list(events.backlog()) == []
    (delivery,) = events.receive("a", 10, 0)
    assert isinstance(delivery.event, UndecodableEvent)
    assert [p.entry_id for p in events.pending(10)] == [delivery.entry_id]


@pytest.mark.parametrize("message", ["{}", '{"init": true}'])
def test_what_is_no_event_is_acknowledged(
    events: EventProcessor, postgres_session: PostgresServer, message: str
) -> None:
    with postgres_session.client() as client:
        client.execute("SELECT pgmq.send('product_updates', %s::jsonb)", [message])
    assert list(events.backlog()) == []
    assert events.receive("a", 10, 0) == []
    assert events.status().length == 0


def test_schema_dropped_under_a_consumer(
    events: EventProcessor,
    postgres_session: PostgresServer,
) -> None:
    events.publish([gone("p-1")])
    with postgres_session.client() as client:
        client.execute("DROP SCHEMA recsys CASCADE")
    with pytest.raises(GroupMissing):
        events.receive("a", 10, 0)
    assert events.create_group()
    (delivery,) = events.receive("a", 10, 0)
    assert delivery.event.product_id == "p-1"  # type: ignore[union-attr]  # an event


@pytest.mark.usefixtures("events")
def test_who_waits_is_woken_where_nothing_is_in_between(postgres_session: PostgresServer) -> None:
    connection = PostgresConnection(postgres_session.url, schema="recsys")
    alarm = Alarm(connection, QUEUE, longest_pause_s=60)
    with contextlib.closing(connection), contextlib.closing(alarm):
        # It listens from here on, and returns at once: the caller has to look once more.
        alarm.wait(60)
        assert alarm.is_listening
        waits = threading.Thread(target=alarm.wait, args=(60,))
        waits.start()
        with postgres_session.client() as client:
            client.execute("SELECT pgmq.send(%s, %s::jsonb)", [QUEUE, SENT])
        waits.join(20)
        assert not waits.is_alive()


def test_who_is_interrupted_while_listening_can_close(
    postgres_session: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    connection = PostgresConnection(postgres_session.url, schema="recsys")
    alarm = Alarm(connection, QUEUE)
    alarm.wait(0)
    monkeypatch.setattr(psycopg.Connection, "notifies", interrupted)
    for listen in (alarm.quiet, lambda: alarm.wait(1)):
        with pytest.raises(KeyboardInterrupt):
            listen()
    closing = threading.Thread(target=alarm.close, daemon=True)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
    connection.close()


def test_through_a_transaction_pooler_nobody_listens_and_everything_arrives(
    supabase_pooled_backend: SupabaseBackend,
    postgres_session: PostgresServer,
    closing: Callable[[object], None],
) -> None:
    events = supabase_pooled_backend.events()
    closing(events)
    events.create_group()
    found: list[object] = []
    waits = threading.Thread(target=lambda: found.extend(events.receive("a", 10, 20_000)))
    waits.start()
    with postgres_session.client() as client:
        client.execute("SELECT pgmq.send(%s, %s::jsonb)", [QUEUE, SENT])
    waits.join(20)
    assert len(found) == 1
    with transaction_pooler(postgres_session.port) as port:
        connection = PostgresConnection(postgres_session.url_at(port), schema="recsys")
        with contextlib.closing(connection), contextlib.closing(Alarm(connection, QUEUE)) as alarm:
            alarm.wait(0.01)
            assert not alarm.is_listening
            assert connection.listener("recsys") is None
            assert connection.health("events").details.endswith(", through a pooler")


@pytest.mark.parametrize("what", ["SCHEMA recsys", "TABLE recsys.groups"])
def test_looking_at_what_somebody_dropped_makes_it_again(
    events: EventProcessor,
    postgres_session: PostgresServer,
    what: str,
) -> None:
    looks: list[Callable[[], object]] = [
        events.status,
        lambda: events.pending(10),
        lambda: list(events.backlog()),
        events.create_group,
        lambda: events.drop_group("none"),
    ]
    for look in looks:
        events.create_group()
        with postgres_session.client() as client:
            client.execute(f"DROP {what} CASCADE".encode())
        look()
    assert events.create_group()


@pytest.mark.usefixtures("events")
def test_only_its_owner_puts_the_trigger_on_a_table(postgres_session: PostgresServer) -> None:
    with postgres_session.client() as client:
        found = client.execute(
            "SELECT has_function_privilege('pg_monitor', 'recsys.fan_out()', 'EXECUTE')"
        ).fetchone()
    assert found == (False,)
