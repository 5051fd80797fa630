from __future__ import annotations

import pytest

from recsys_cli.deliveries import UndecodableEvent
from recsys_cli.events.codec import MAX_EVENT_BYTES, decode

GOOD = {
    b"event_type": b"update",
    b"product_id": b"p1",
    b"timestamp": b"2026-01-01T00:00:00Z",
    b"data": b'{"price": 1}',
}


@pytest.mark.parametrize(
    ("change", "cause", "reason"),
    [
        ({b"event_type": b"explode"}, "unknown-type", "unknown event_type 'explode'"),
        ({b"event_type": b""}, "unknown-type", "unknown event_type ''"),
        ({b"product_id": b""}, "no-id", "the event has no product_id"),
        ({b"product_id": b" "}, "no-id", "the event has no product_id"),
        ({b"product_id": b"x" * 513}, "invalid", "the id is 513 bytes long"),
        ({b"product_id": b"\xff"}, "not-utf-8", "a field is not UTF-8"),
        ({b"data": b"{"}, "undecodable", "data is not a JSON object"),
        ({b"data": b"[1]"}, "undecodable", "data is not a JSON object"),
        ({b"data": b'{"id": "p2"}'}, "undecodable", "data names another product: 'p2'"),
        ({b"data": b'{"price": -1}'}, "invalid", "price is negative"),
        ({b"data": b"x" * (MAX_EVENT_BYTES + 1)}, "oversized", "bytes long; at most"),
        ({b"x" * (MAX_EVENT_BYTES + 1): b""}, "oversized", "bytes long; at most"),
    ],
)
def test_what_can_never_be_applied_has_a_cause(
    change: dict[bytes, bytes], cause: str, reason: str
) -> None:
    event = decode(GOOD | change)
    assert isinstance(event, UndecodableEvent)
    assert event.cause == cause
    assert reason in event.reason
    assert sum(len(name) + len(value) for name, value in event.raw.items()) < 100_000


def test_what_can_be_applied_is_and_what_is_no_event_is_none() -> None:
    assert not isinstance(decode(GOOD), UndecodableEvent | None)
    assert decode({b"init": b"true"}) is None
