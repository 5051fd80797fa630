"""What every stream of events promises; see ports.EventProcessor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys_cli.domain import DeadLetter, Delivery, EventType, ProductEvent, utc_now
from recsys_cli.ports import EventProcessor
from tests.contract.conftest import Backend
from tests.servers import wait_until

Open = Callable[..., EventProcessor]

NASTY = ["a/b c", "'quoted' \"twice\"", "{brace}", "🧸", "Đèn bàn", "line\nbreak", "x" * 512]


@pytest.fixture
def opened(backend: Backend, closing: Callable[[object], None]) -> Open:
    def open_(*, group: str = "product-processors", claim_idle_ms: int = 60_000) -> EventProcessor:
        processor = backend.events(group=group, claim_idle_ms=claim_idle_ms)
        closing(processor)
        return processor

    return open_


def created(product_id: str, **fields: str) -> ProductEvent:
    return ProductEvent(
        type=EventType.CREATE, product_id=product_id, fields={"name": "Lamp", **fields}
    )


def some(count: int) -> list[ProductEvent]:
    return [created(f"p{number}") for number in range(count)]


def events_of(deliveries: list[Delivery]) -> list[ProductEvent]:
    events = [delivery.event for delivery in deliveries]
    assert all(isinstance(event, ProductEvent) for event in events)
    return [event for event in events if isinstance(event, ProductEvent)]


def ids(deliveries: list[Delivery]) -> list[str]:
    return [event.product_id for event in events_of(deliveries)]


def test_events_come_in_the_order_published_at_increasing_positions(opened: Open) -> None:
    events = opened()
    positions = events.publish(some(3)) + events.publish(some(2))
    assert positions == sorted(set(positions))
    deliveries = events.receive("c", 10, 0)
    assert [delivery.position for delivery in deliveries] == positions
    assert ids(deliveries) == ["p0", "p1", "p2", "p0", "p1"]


def test_publishing_nothing_is_harmless(opened: Open) -> None:
    assert opened().publish([]) == []


def test_an_event_arrives_as_it_was_published(opened: Open) -> None:
    events = opened()
    published = [
        created("a", brand="Đồ"),
        ProductEvent(type=EventType.UPDATE, product_id="a", fields={"price": 9.5, "brand": None}),
        ProductEvent(type=EventType.DELETE, product_id="a"),
        *(created(product_id) for product_id in NASTY),
    ]
    events.publish(published)
    assert events_of(events.receive("c", 20, 0)) == published


def test_a_large_publication_is_accepted_whole(opened: Open) -> None:
    events = opened()
    events.publish(some(3000))
    assert len(events.receive("c", 5000, 0)) == 3000


def test_a_group_begins_at_the_oldest_event(opened: Open) -> None:
    opened().publish(some(2))
    assert ids(opened(group="late").receive("c", 10, 0)) == ["p0", "p1"]


def test_no_more_than_asked_for(opened: Open) -> None:
    events = opened()
    events.publish(some(5))
    assert ids(events.receive("c", 2, 0)) == ["p0", "p1"]
    assert ids(events.receive("c", 10, 0)) == ["p2", "p3", "p4"]


def test_while_held_an_event_is_with_one_consumer_only(opened: Open) -> None:
    one, other = opened(), opened()
    one.publish(some(4))
    assert ids(one.receive("one", 2, 0)) == ["p0", "p1"]
    assert ids(other.receive("other", 10, 0)) == ["p2", "p3"]
    assert one.receive("one", 10, 0) == []


def test_unacked_event_returns_to_its_consumer_when_that_starts_again(opened: Open) -> None:
    first = opened()
    first.publish(some(3))
    done, *_ = first.receive("c", 2, 0)
    first.acknowledge([done])
    first.close()

    again = opened().receive("c", 10, 0)

    assert ids(again) == ["p1", "p2"], "what was left first, then what is new"
    assert [delivery.attempt for delivery in again] == [2, 1]


def test_events_of_a_dead_consumer_are_taken_over_after_the_claim_time(opened: Open) -> None:
    dead, alive = opened(claim_idle_ms=200), opened(claim_idle_ms=200)
    dead.publish(some(2))
    dead.receive("dead", 2, 0)
    assert alive.receive("alive", 10, 0) == []

    # One call that waits is enough: claiming goes on while it does.
    taken = alive.receive("alive", 10, 10_000)

    assert ids(taken) == ["p0", "p1"]
    assert {delivery.attempt for delivery in taken} == {2}


def test_attempts_count_every_consumer_that_died(opened: Open) -> None:
    opened().publish(some(1))
    attempts = []
    for _ in range(4):
        process = opened()
        attempts += [delivery.attempt for delivery in process.receive("c", 1, 0)]
        process.close()
    assert attempts == [1, 2, 3, 4]


def test_zero_block_does_not_wait(opened: Open) -> None:
    events = opened()
    events.receive("c", 1, 0)
    start = time.monotonic()
    assert events.receive("c", 1, 0) == []
    assert time.monotonic() - start < 1


def test_waiting_ends_in_vain_or_when_something_is_published(opened: Open) -> None:
    events, publisher = opened(), opened()
    start = time.monotonic()
    assert events.receive("c", 1, 300) == []
    assert time.monotonic() - start >= 0.29

    timer = threading.Timer(0.2, publisher.publish, [some(1)])
    timer.start()
    start = time.monotonic()
    assert ids(events.receive("c", 1, 20_000)) == ["p0"]
    assert time.monotonic() - start < 10
    timer.join()


def test_acknowledged_events_are_over(opened: Open) -> None:
    events = opened(claim_idle_ms=1)
    events.publish(some(3))
    deliveries = events.receive("c", 3, 0)
    events.acknowledge(deliveries)
    events.acknowledge(deliveries)
    assert events.status().pending == 0
    assert events.status().length == 0, "acknowledged by every group, it leaves the stream"
    assert opened(claim_idle_ms=1).receive("c", 10, 100) == []


def test_an_event_stays_for_the_groups_that_need_it(opened: Open) -> None:
    one, other = opened(), opened(group="other")
    one.publish(some(2))
    other.receive("c", 1, 0)
    one.acknowledge(one.receive("c", 2, 0))

    assert one.status().length == 2
    assert ids(opened(group="other").receive("c", 10, 0)) == ["p0", "p1"]


def letter(delivery: Delivery, number: int = 0) -> DeadLetter:
    now = utc_now()
    return DeadLetter(
        entry_id=delivery.entry_id,
        raw={"product_id": f"p{number}", "data": "{}", "odd 🧸": "\n"},
        cause="test",
        error=f"error {number}",
        attempts=3,
        first_failed_at=now,
        last_failed_at=now,
    )


def test_buried_events_are_kept_and_acknowledged(opened: Open) -> None:
    events = opened()
    events.publish(some(3))
    letters = [letter(d, number) for number, d in enumerate(events.receive("c", 3, 0))]
    events.bury(letters)
    assert events.dead_letters(10) == letters
    assert events.dead_letters(2) == letters[1:], "the newest, oldest first"
    status = events.status()
    assert (status.pending, status.dead_letters) == (0, 3)


def test_the_backlog_is_what_is_not_acknowledged_and_stays_so(opened: Open) -> None:
    events = opened()
    assert list(events.backlog()) == []
    events.publish(some(1500))
    events.acknowledge(events.receive("c", 2, 0))
    held = ids(events.receive("c", 3, 0))

    backlog = [event.product_id for _, event in events.backlog()]

    assert backlog == [f"p{number}" for number in range(2, 1500)]
    assert held == backlog[:3]
    assert ids(events.receive("c", 1, 0)) == ["p5"], "nothing of it was delivered"


def test_status_tells_how_far_behind(opened: Open) -> None:
    events = opened()
    empty = events.status()
    assert (empty.length, empty.lag, empty.pending, empty.oldest_pending_ms) == (0, 0, 0, None)

    events.publish(some(5))
    assert events.status().lag == 5
    events.receive("busy", 2, 0)
    status = events.status()
    assert (status.stream, status.group) == ("product:updates", "product-processors")
    assert (status.length, status.lag, status.pending, status.dead_letters) == (5, 3, 2, 0)
    assert status.oldest_pending_ms is not None
    assert [(c.name, c.pending) for c in status.consumers] == [("busy", 2)]


def test_pending_shows_who_holds_what(opened: Open) -> None:
    events = opened()
    events.publish(some(4))
    events.receive("one", 2, 0)
    events.receive("other", 2, 0)

    everyone = events.pending(10)
    assert [(p.product_id, p.event_type, p.consumer, p.deliveries) for p in everyone] == [
        ("p0", "create", "one", 1),
        ("p1", "create", "one", 1),
        ("p2", "create", "other", 1),
        ("p3", "create", "other", 1),
    ]
    assert events.pending(3) == everyone[:3] or len(events.pending(3)) == 3
    assert [p.product_id for p in events.pending(10, consumer="other")] == ["p2", "p3"]
    assert events.pending(10, min_idle_ms=60_000) == []
    wait_until(lambda: len(events.pending(10, min_idle_ms=50)) == 4, 5, "idle for 50 ms")


def test_health_names_the_backend_without_a_password(opened: Open) -> None:
    health = opened().health()
    assert health.part == "events"
    assert health.version


def test_closing_twice_is_harmless(opened: Open) -> None:
    events = opened()
    events.publish(some(1))
    events.close()
    events.close()


def test_threads_may_share_one(opened: Open) -> None:
    events = opened()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: events.publish(some(50)), range(4)))

        def take(name: int) -> int:
            taken = 0
            while deliveries := events.receive(f"c{name}", 7, 0):
                events.acknowledge(deliveries)
                taken += len(deliveries)
            return taken

        assert sum(pool.map(take, range(4))) == 200
