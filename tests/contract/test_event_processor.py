"""What every stream of events promises; see ports.EventProcessor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from recsys_cli.deliveries import DeadLetter, Delivery, Failure
from recsys_cli.domain import EventType, ProductEvent, utc_now
from recsys_cli.errors import GroupMissing
from recsys_cli.ports import DeadLetters, EventProcessor
from tests.contract.conftest import EventsSide
from tests.servers import wait_until

Open = Callable[..., EventProcessor]

NASTY = ["a/b c", "'quoted' \"twice\"", "{brace}", "🧸", "Đèn bàn", "line\nbreak", "x" * 512]


@pytest.fixture
def opened(events_side: EventsSide, closing: Callable[[object], None]) -> Open:
    def open_(*, group: str = "product-processors", claim_idle_ms: int = 60_000) -> EventProcessor:
        processor = events_side.events(group=group, claim_idle_ms=claim_idle_ms)
        closing(processor)
        processor.create_group()
        return processor

    return open_


@pytest.fixture
def dead(events_side: EventsSide, closing: Callable[[object], None]) -> DeadLetters:
    letters = events_side.dead_letters()
    closing(letters)
    return letters


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


def test_a_publication_under_way_ends_as_one_that_is_waited_for(opened: Open) -> None:
    events = opened()
    wait = events.begin_publish(some(3))
    assert events.status().lag is not None
    positions = wait() + events.publish(some(1))
    assert positions == sorted(set(positions))
    assert ids(events.receive("c", 10, 0)) == ["p0", "p1", "p2", "p0"]


def test_publishing_nothing_is_harmless(opened: Open) -> None:
    assert opened().publish([]) == []
    assert opened().begin_publish([])() == []


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


def test_unacked_events_return_one_by_one_when_their_consumer_starts_again(opened: Open) -> None:
    first = opened()
    first.publish(some(4))
    done, *_ = first.receive("c", 3, 0)
    first.acknowledge([done])
    first.close()

    second = opened()
    again = [second.receive("c", 10, 0) for _ in range(3)]

    assert [ids(batch) for batch in again] == [["p1"], ["p2"], ["p3"]], "what was left, then new"
    assert [batch[0].attempt for batch in again] == [2, 2, 1]


def test_events_of_a_dead_consumer_are_taken_over_after_the_claim_time(opened: Open) -> None:
    dead, alive = opened(claim_idle_ms=200), opened(claim_idle_ms=200)
    dead.publish(some(2))
    dead.receive("dead", 2, 0)
    assert alive.receive("alive", 10, 0) == []

    # One call that waits is enough: claiming goes on while it does.
    taken = [alive.receive("alive", 10, 10_000) for _ in range(2)]

    assert [ids(batch) for batch in taken] == [["p0"], ["p1"]]
    assert [(d.attempt, d.consumer) for batch in taken for d in batch] == [(2, "alive")] * 2


def test_only_the_event_that_is_handed_out_again_counts_an_attempt(opened: Open) -> None:
    opened().publish(some(3))
    opened().receive("c", 3, 0)
    for attempt in (2, 3, 4):
        (again,) = opened().receive("c", 3, 0)
        assert (ids([again]), again.attempt) == (["p0"], attempt), "it kills its consumer each time"
    last = opened()
    last.acknowledge(last.receive("c", 3, 0))
    (spared,) = last.receive("c", 3, 0)
    assert (ids([spared]), spared.attempt) == (["p1"], 2)


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
    late = opened(group="other")
    assert ids(late.receive("c", 10, 0) + late.receive("c", 10, 0)) == ["p0", "p1"]


def failure(attempt: int, error: str = "oh") -> Failure:
    return Failure(attempt=attempt, error=error, first_failed_at="first", last_failed_at="last")


def test_a_postponed_event_comes_again_with_its_failure_and_blocks_nobody(opened: Open) -> None:
    events = opened(claim_idle_ms=60_000)
    events.publish(some(2))
    (bad, *_) = events.receive("c", 1, 0)
    start = time.monotonic()
    events.postpone(bad, failure(1), 300)
    assert [p.failure for p in events.pending(5)] == [failure(1)]

    assert ids(events.receive("c", 5, 0)) == ["p1"], "the others go on"
    (again,) = opened().receive("other", 5, 20_000)

    assert 0.25 < time.monotonic() - start < 10, "long before the claim time"
    assert (ids([again]), again.attempt, again.failure) == (["p0"], 2, failure(1))


def test_the_longest_delay_is_the_claim_time(opened: Open) -> None:
    events = opened(claim_idle_ms=200)
    events.publish(some(1))
    events.postpone(events.receive("c", 1, 0)[0], failure(1), 3_600_000)
    assert len(events.receive("c", 1, 10_000)) == 1


def test_what_is_no_longer_held_cannot_be_postponed_or_renewed(opened: Open) -> None:
    slow, fast = opened(claim_idle_ms=100), opened(claim_idle_ms=100)
    slow.publish(some(1))
    held = slow.receive("slow", 1, 0)
    (taken,) = fast.receive("fast", 1, 10_000)
    slow.postpone(held[0], failure(1), 50)
    slow.renew(held)
    assert [p.consumer for p in fast.pending(10)] == ["fast"]
    fast.acknowledge([taken])
    slow.postpone(held[0], failure(1), 50)
    slow.renew(held)
    assert fast.pending(10) == []


def test_a_renewed_event_stays_with_its_consumer(opened: Open) -> None:
    busy, idle = opened(claim_idle_ms=400), opened(claim_idle_ms=400)
    busy.publish(some(2))
    held = busy.receive("busy", 2, 0)
    for _ in range(8):
        assert idle.receive("idle", 10, 100) == []
        busy.renew(held)
    assert [(p.consumer, p.deliveries) for p in busy.pending(10)] == [("busy", 1)] * 2
    assert len(idle.receive("idle", 10, 10_000)) == 1, "until it no longer is"


def test_creating_the_group_again_changes_nothing(events_side: EventsSide, opened: Open) -> None:
    fresh = events_side.events()
    assert fresh.create_group()
    events = opened()
    assert not events.create_group()
    events.publish(some(1))
    assert len(events.receive("c", 1, 0)) == 1
    assert not events.create_group()
    assert events.status().pending == 1
    fresh.close()


def test_without_its_group_nothing_is_received(
    events_side: EventsSide, closing: Callable[[object], None]
) -> None:
    events = events_side.events()
    closing(events)
    with pytest.raises(GroupMissing, match="product-processors"):
        events.receive("c", 1, 0)
    assert events.status().consumers == []
    assert events.forget_consumers(["c"]) == []
    assert not events.drop_group("product-processors")


def test_only_consumers_that_hold_nothing_are_forgotten(opened: Open) -> None:
    events = opened()
    events.publish(some(1))
    held = events.receive("busy", 1, 0)
    events.receive("idle", 1, 0)
    assert events.forget_consumers(["busy", "idle", "unknown"]) == ["idle"]
    assert [c.name for c in events.status().consumers] == ["busy"]
    assert events.receive("idle", 1, 0) == [], "asking again is fine"
    events.acknowledge(held)
    assert events.forget_consumers(["busy"]) == ["busy"]


def letter(delivery: Delivery, number: int = 0, **changes: str) -> DeadLetter:
    return DeadLetter(
        entry_id=delivery.entry_id,
        raw={**delivery.raw, **changes},
        cause="test",
        error=f"error {number}",
        attempts=3,
        first_failed_at=utc_now(),
        last_failed_at=utc_now(),
    )


def buried(events: EventProcessor, count: int, **changes: str) -> list[DeadLetter]:
    deliveries = events.receive("c", count, 0)
    letters = [letter(d, number, **changes) for number, d in enumerate(deliveries)]
    events.bury(letters)
    return letters


def without_ids(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    return [msgspec.structs.replace(letter, id="") for letter in letters]


def test_buried_events_are_kept_and_acknowledged(opened: Open, dead: DeadLetters) -> None:
    events = opened()
    events.publish([*some(2), created("\n 🧸")])
    letters = buried(events, 3, **{"odd 🧸": "\n"})
    assert without_ids(dead.letters()) == letters
    assert without_ids(dead.letters(newest_first=True)) == letters[::-1]
    status = events.status()
    assert (status.pending, status.dead_letters, status.length) == (0, 3, 0)


def test_burying_twice_keeps_one(opened: Open, dead: DeadLetters) -> None:
    events = opened()
    events.publish(some(1))
    letters = buried(events, 1)
    events.bury(letters)
    assert without_ids(dead.letters()) == letters


def test_many_letters_come_page_by_page(opened: Open, dead: DeadLetters) -> None:
    events = opened()
    events.publish(some(1200))
    letters = buried(events, 1200)
    assert without_ids(dead.letters()) == letters
    assert without_ids(dead.letters(newest_first=True)) == letters[::-1]


def test_a_letter_is_found_by_its_id(opened: Open, dead: DeadLetters) -> None:
    assert list(dead.letters()) == []
    events = opened()
    events.publish(some(2))
    buried(events, 2)
    one, two = dead.letters()
    assert (dead.find(one.id), dead.find(two.id)) == (one, two)
    for unknown in ("", "0-0", "99", "9999999999999-0", "no id", "*", "-", "١"):
        assert dead.find(unknown) is None


def test_a_replayed_event_counts_where_it_first_stood(opened: Open, dead: DeadLetters) -> None:
    events = opened()
    (position, _) = events.publish([created("a", color="red"), created("b")])
    original, _ = events.receive("c", 2, 0)
    events.bury([letter(original)])

    (kept,) = dead.letters()
    assert dead.replay(kept)
    assert not dead.replay(kept), "it is not there any longer"

    assert list(dead.letters()) == []
    (again,) = events.receive("c", 10, 0)
    assert (again.event, again.position, again.replays) == (original.event, position, 1)
    assert (again.attempt, again.entry_id != original.entry_id) == (1, True)
    events.bury([letter(again)])
    (twice,) = dead.letters()
    assert twice.replays == 1
    dead.replay(twice)
    (third,) = events.receive("c", 10, 0)
    assert (third.event, third.position, third.replays) == (original.event, position, 2)
    assert [p for p, _ in events.backlog()][-1] == position


def test_purged_letters_are_gone_for_good(opened: Open, dead: DeadLetters) -> None:
    events = opened()
    events.publish(some(3))
    buried(events, 3)
    one, two, three = dead.letters()
    assert dead.purge([one.id, three.id, one.id, "12345678901"]) == 2
    assert list(dead.letters()) == [two]
    assert not dead.replay(one)
    assert events.status().lag == 0


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


def test_status_names_every_group_of_the_stream(opened: Open) -> None:
    events = opened()
    opened(group="old")
    events.publish(some(5))
    events.receive("c", 2, 0)
    ours, old = sorted(events.status().groups, key=lambda group: group.name, reverse=True)
    assert (ours.name, ours.lag, ours.pending) == ("product-processors", 3, 2)
    assert (old.name, old.lag, old.pending, old.idle_ms) == ("old", 5, 0, None)
    assert ours.idle_ms is not None
    assert ours.idle_ms < 60_000


def test_a_dropped_group_keeps_nothing_on_the_stream(opened: Open) -> None:
    events, old = opened(), opened(group="old")
    events.publish(some(5))
    old.receive("c", 1, 0)
    events.acknowledge(events.receive("c", 3, 0))
    assert events.status().length == 5

    assert events.drop_group("old")

    assert not events.drop_group("old")
    status = events.status()
    # What is just behind the last delivery may stay a little longer.
    assert [group.name for group in status.groups] == ["product-processors"]
    assert (status.length in (2, 3), status.lag) == (True, 2)
    assert len(events.receive("c", 10, 0)) == 2


def test_status_names_the_newest_entry_also_when_it_is_gone(opened: Open) -> None:
    events = opened()
    *_, newest = events.publish(some(3))
    events.acknowledge(events.receive("c", 3, 0))
    assert (events.status().length, events.status().last_entry_id) == (0, str(newest))


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
