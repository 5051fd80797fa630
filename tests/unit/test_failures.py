from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.deliveries import Delivery, Failure, LostEvent, UndecodableEvent
from recsys_cli.domain import EventType, Position, ProductEvent
from recsys_cli.errors import BackendUnavailable
from recsys_cli.pipeline import failures
from recsys_cli.pipeline.outage import Outage, backoff_s


def delivery(attempt: int, **changes: object) -> Delivery:
    facts: dict[str, object] = {
        "entry_id": "5-0",
        "position": Position(5, 0),
        "consumer": "c",
        "attempt": attempt,
        "event": ProductEvent(type=EventType.DELETE, product_id="p"),
    }
    return Delivery(**(facts | changes))  # type: ignore[arg-type]


@given(st.integers(1, 10_000), st.floats(0.01, 10), st.floats(10, 1000))
def test_backoff_doubles_up_to_a_limit_and_half_of_it_is_chance(
    attempt: int, shortest_s: float, longest_s: float
) -> None:
    full = min(longest_s, shortest_s * 2.0 ** min(attempt - 1, 60))
    assert full / 2 <= backoff_s(attempt, shortest_s, longest_s) <= full


def test_no_two_waits_are_alike() -> None:
    assert len({backoff_s(3, 1, 60) for _ in range(20)}) > 10


def test_retries_wait_no_longer_than_the_claim_time() -> None:
    assert 500 <= failures.retry_after_ms(1, 60_000) <= 1000
    assert 4000 <= failures.retry_after_ms(4, 60_000) <= 8000
    assert failures.retry_after_ms(30, 60_000) <= 60_000


def test_a_first_delivery_has_no_past() -> None:
    assert failures.known_failure(delivery(1)) is None
    assert failures.hopeless(delivery(1), 5) is None


def test_a_consumer_that_went_quiet_is_noted_and_the_first_failure_kept() -> None:
    known = Failure(attempt=1, error="oh", first_failed_at="first", last_failed_at="then")
    assert failures.known_failure(delivery(2, failure=known)) == known

    quiet = failures.known_failure(delivery(3, failure=known))

    assert quiet is not None
    assert (quiet.attempt, quiet.error, quiet.first_failed_at) == (2, failures.GONE_QUIET, "first")
    assert quiet.last_failed_at > "2026"


@pytest.mark.parametrize(
    ("error", "cause"), [("oh", "failing"), (failures.GONE_QUIET, "abandoned")]
)
def test_after_the_last_delivery_comes_the_letter(error: str, cause: str) -> None:
    known = Failure(attempt=5, error=error, first_failed_at="first", last_failed_at="last")
    assert failures.hopeless(delivery(5, failure=known), 5) is None
    letter = failures.hopeless(delivery(6, failure=known), 5)
    assert letter is not None
    assert (letter.cause, letter.error, letter.attempts) == (cause, error, 5)
    assert (letter.first_failed_at, letter.last_failed_at) == ("first", "last")
    assert letter.raw["product_id"] == "p"


def test_what_cannot_be_read_is_given_up_at_once_and_what_is_lost_never() -> None:
    unreadable = UndecodableEvent(cause="no-id", reason="the event has no id", raw={"a": "b"})
    letter = failures.hopeless(delivery(1, event=unreadable), 5)
    assert letter is not None
    assert (letter.cause, letter.error, letter.raw) == ("no-id", "the event has no id", {"a": "b"})
    assert failures.hopeless(delivery(9, event=LostEvent()), 5) is None


def test_an_outage_is_told_and_ends_when_patience_does() -> None:
    stop, said = threading.Event(), list[str]()
    stop.set()
    endless, short = Outage(stop, said.append), Outage(stop, said.append, patience_s=-1)
    error = BackendUnavailable("Redis does not answer")
    for _ in range(3):
        endless.wait(error)
    assert endless.is_on
    endless.end()
    endless.end()
    assert not endless.is_on
    assert [s.split(";")[0] for s in said[:3]] == ["Redis does not answer"] * 3
    assert said[3:] == ["the backend answers again, after 0 s"]
    with pytest.raises(BackendUnavailable):
        short.wait(error)
