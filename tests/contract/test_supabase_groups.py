"""The queues of pgmq that a stream's groups have: deleted, made again, and shared by nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from recsys_cli.connections.postgres import PostgresConnection, Session
from recsys_cli.deliveries import Delivery
from recsys_cli.domain import EventType, ProductEvent
from recsys_cli.errors import BackendRefused, GroupMissing
from recsys_cli.events.supabase_messages import queue_of
from recsys_cli.events.supabase_queue import SupabaseQueue
from recsys_cli.ports import EventProcessor
from tests.contract.backends.supabase import SupabaseBackend
from tests.postgres import PostgresServer
from tests.servers import wait_until

MAIN = "product_updates"
OTHER = queue_of("product:updates", "audit")


@pytest.fixture
def ours(supabase_backend: SupabaseBackend, closing: Callable[[object], None]) -> EventProcessor:
    """The first group, which reads the stream's own queue."""
    return opened(supabase_backend, closing, "product-processors")


@pytest.fixture
def audit(
    supabase_backend: SupabaseBackend,
    closing: Callable[[object], None],
    ours: EventProcessor,  # noqa: ARG001 - it came first
) -> EventProcessor:
    """The second, with a queue of its own."""
    return opened(supabase_backend, closing, "audit")


def opened(
    backend: SupabaseBackend, closing: Callable[[object], None], group: str
) -> EventProcessor:
    events = backend.events(group=group)
    closing(events)
    events.create_group()
    return events


def changed(*product_ids: str) -> list[ProductEvent]:
    return [ProductEvent(type=EventType.DELETE, product_id=i, fields={}) for i in product_ids]


def drop_queue(server: PostgresServer, queue: str) -> None:
    """Do what one click in a dashboard does."""
    with server.client() as client:
        client.execute("SELECT pgmq.drop_queue(%s)", [queue])


def somebody_waits(client: Session) -> bool:
    return client.execute("SELECT FROM pg_locks WHERE NOT granted").rowcount > 0


def ids(deliveries: list[Delivery]) -> list[str]:
    return [event.product_id for d in deliveries if isinstance(event := d.event, ProductEvent)]


def test_a_queue_that_was_dropped_goes_on_behind_its_positions(
    ours: EventProcessor, audit: EventProcessor, postgres_session: PostgresServer
) -> None:
    (before,) = ours.publish(changed("p-1"))
    drop_queue(postgres_session, MAIN)
    (after,) = ours.publish(changed("p-2"))
    assert after > before
    assert [d.position for d in ours.receive("a", 10, 0)] == [after]
    assert [d.position for d in audit.receive("a", 10, 0)] == [before, after]
    # Also where another program was faster, and began with 1.
    drop_queue(postgres_session, MAIN)
    with postgres_session.client() as client:
        client.execute("SELECT pgmq.create(%s)", [MAIN])
    (last,) = ours.publish(changed("p-3"))
    assert last > after


def test_the_shop_goes_on_without_the_queue_of_another_group(
    ours: EventProcessor, audit: EventProcessor, postgres_session: PostgresServer
) -> None:
    ours.publish(changed("p-1"))
    drop_queue(postgres_session, OTHER)
    ours.publish(changed("p-2"))
    assert ids(ours.receive("a", 10, 0)) == ["p-1", "p-2"]
    assert [group.name for group in ours.status().groups] == ["product-processors"]
    with pytest.raises(GroupMissing):
        audit.receive("a", 10, 0)
    assert audit.create_group()
    assert ids(audit.receive("a", 10, 0)) == ["p-1", "p-2"]
    ours.publish(changed("p-3"))
    assert ids(audit.receive("a", 10, 0)) == ["p-3"]


@pytest.mark.usefixtures("ours")
def test_two_schemas_do_not_read_one_queue(
    postgres_session: PostgresServer, closing: Callable[[object], None]
) -> None:
    second = SupabaseQueue(
        PostgresConnection(postgres_session.url, schema="second"),
        stream="product:updates",
        group="product-processors",
        claim_idle_ms=60_000,
    )
    closing(second)
    try:
        with pytest.raises(BackendRefused) as error:
            second.publish(changed("p-1"))
        assert str(error.value).endswith("the queue product_updates is that of the schema recsys")
        assert error.value.hint == "set PRODUCT_STREAM_KEY to a name that only this schema has"
    finally:
        with postgres_session.client() as client:
            client.execute("DROP SCHEMA second CASCADE")


def test_two_who_open_a_new_stream_at_once_both_do(
    ours: EventProcessor,
    supabase_backend: SupabaseBackend,
    closing: Callable[[object], None],
    postgres_session: PostgresServer,
) -> None:
    second = supabase_backend.events()
    closing(second)
    drop_queue(postgres_session, MAIN)
    sent: list[object] = []
    with postgres_session.client() as client:
        with client.transaction():
            client.execute("SELECT recsys.open_stream('product:updates', %s)", [MAIN])
            waiting = threading.Thread(target=lambda: sent.extend(second.publish(changed("p-1"))))
            waiting.start()
            wait_until(lambda: somebody_waits(client), 20, "it waits for who is faster")
        waiting.join(20)
    assert [d.position for d in ours.receive("a", 10, 0)] == sent != []


def test_who_acknowledges_and_who_renews_do_not_wait_crosswise(
    ours: EventProcessor, postgres_session: PostgresServer
) -> None:
    ours.publish(changed("p-1"))
    taken = ours.receive("a", 10, 0)
    with postgres_session.client() as client:
        with client.transaction():
            client.execute("SELECT FROM recsys.deliveries FOR UPDATE")
            acknowledging = threading.Thread(target=ours.acknowledge, args=(taken,))
            acknowledging.start()
            wait_until(lambda: somebody_waits(client), 20, "it waits for the delivery")
            # As a renewal does next.
            client.execute(f"SELECT FROM pgmq.q_{MAIN} FOR UPDATE NOWAIT".encode())
        acknowledging.join(20)
    assert ours.status().length == 0


def test_who_drops_a_group_and_its_consumers_do_not_wait_crosswise(
    ours: EventProcessor, audit: EventProcessor, postgres_session: PostgresServer
) -> None:
    ours.publish(changed("p-1"))
    audit.receive("a", 10, 0)
    with postgres_session.client() as client:
        with client.transaction():
            client.execute(f"SELECT FROM pgmq.q_{OTHER} FOR UPDATE".encode())
            dropping = threading.Thread(target=ours.drop_group, args=("audit",))
            dropping.start()
            wait_until(lambda: somebody_waits(client), 20, "it waits for the queue")
            # As the delivery of an event does next.
            client.execute("SELECT FROM recsys.deliveries FOR UPDATE NOWAIT")
        dropping.join(20)
    assert [group.name for group in ours.status().groups] == ["product-processors"]


def test_what_no_group_would_get_is_not_taken_for_published(
    ours: EventProcessor, postgres_session: PostgresServer
) -> None:
    with postgres_session.client() as client:
        # As if somebody dropped the trigger each time that it is made.
        client.execute(
            "CREATE OR REPLACE FUNCTION recsys.open_stream(stream_name text, stream_queue text)"
            " RETURNS void LANGUAGE sql AS ''"
        )
        client.execute(f"DROP TRIGGER recsys_fan_out_recsys ON pgmq.q_{MAIN}".encode())
    with pytest.raises(BackendRefused, match="does not stay as recsys makes it"):
        ours.publish(changed("p-1"))


@pytest.mark.parametrize("first", ["product-processors", "audit"])
def test_what_the_last_group_had_not_read_waits_for_the_next(
    ours: EventProcessor,
    audit: EventProcessor,  # noqa: ARG001 - there is one more
    supabase_backend: SupabaseBackend,
    closing: Callable[[object], None],
    first: str,
) -> None:
    (position,) = ours.publish(changed("p-1"))
    (last,) = {"product-processors", "audit"} - {first}
    assert ours.drop_group(first)
    (later,) = ours.publish(changed("p-2"))
    assert ours.drop_group(last)

    again = supabase_backend.events(group="again")
    closing(again)
    again.create_group()

    found = [delivery.position for delivery in again.receive("a", 10, 0)]
    assert found == [position, later]
