"""What becomes of an event that fails: another try later, or a dead letter.

An event that can never succeed is given up at once. One whose processing fails is tried again after
a backoff, and one that is delivered again without a word from its last consumer has probably
killed it; either is given up after ``max_deliveries``, as the backend counts them.
"""

from __future__ import annotations

from recsys_cli.deliveries import DeadLetter, Delivery, Failure, LostEvent, UndecodableEvent
from recsys_cli.domain import utc_now
from recsys_cli.errors import InvalidData, InvalidEvent, InvalidProduct, RecsysError
from recsys_cli.pipeline.outage import backoff_s

FIRST_RETRY_S = 1.0
GONE_QUIET = "its consumer ended, or hung, without a word"

_OF_EVENTS = (InvalidData, InvalidEvent, InvalidProduct)

FAILING, ABANDONED = "failing", "abandoned"
"""Causes of dead letters, beside those of undecodable events."""


def may_be_of_events(error: Exception) -> bool:
    """Whether an error may be the fault of an event: the others of ours would meet every event."""
    return isinstance(error, _OF_EVENTS) or not isinstance(error, RecsysError)


def failure(delivery: Delivery, error: str) -> Failure:
    """Return what is to be remembered now that this delivery has failed."""
    return _failure(delivery, delivery.attempt, error)


def known_failure(delivery: Delivery) -> Failure | None:
    """Return what happened on the attempts before this one; None on the first."""
    earlier = delivery.attempt - 1
    if earlier < 1:
        return None
    if delivery.failure is not None and delivery.failure.attempt >= earlier:
        return delivery.failure
    return _failure(delivery, earlier, GONE_QUIET)


def hopeless(delivery: Delivery, max_deliveries: int) -> DeadLetter | None:
    """Return the letter for a delivery that is not worth another try, else None."""
    if isinstance(delivery.event, UndecodableEvent):
        return letter(delivery, delivery.event.cause, failure(delivery, delivery.event.reason))
    if isinstance(delivery.event, LostEvent):
        return None
    if delivery.attempt > max_deliveries and (known := known_failure(delivery)):
        return letter(delivery, ABANDONED if known.error == GONE_QUIET else FAILING, known)
    return None


def letter(delivery: Delivery, cause: str, last: Failure) -> DeadLetter:
    """Return the dead letter of a delivery whose ``last`` failure was one too many."""
    return DeadLetter(
        entry_id=delivery.entry_id,
        raw=delivery.raw,
        cause=cause,
        error=last.error,
        attempts=last.attempt,
        first_failed_at=last.first_failed_at,
        last_failed_at=last.last_failed_at,
    )


def retry_after_ms(attempt: int, longest_ms: int) -> int:
    """Return how long an event waits after its ``attempt``-th delivery has failed."""
    return round(1000 * backoff_s(attempt, FIRST_RETRY_S, longest_ms / 1000))


def _failure(delivery: Delivery, attempt: int, error: str) -> Failure:
    now = utc_now()
    first = delivery.failure.first_failed_at if delivery.failure else now
    return Failure(attempt=attempt, error=error, first_failed_at=first, last_failed_at=now)
