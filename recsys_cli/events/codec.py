"""The form of an event on every stream: four text fields, which other programs read and write.

event_type   create | update | delete
product_id   any text
timestamp    ISO 8601, UTC
data         JSON object: the whole product, the changed fields, or {} for a delete

A replayed event has two more: ``original_id``, the entry it was at first and the position where it
still counts, and ``replays``, how often it was replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import msgspec

from recsys_cli.cleaning import MAX_PRODUCT_BYTES, clean_fields, clean_id
from recsys_cli.deliveries import Delivery, Failure, LostEvent, UndecodableEvent, counted
from recsys_cli.domain import EventType, Position, ProductEvent
from recsys_cli.errors import InvalidEvent, InvalidProduct

MAX_EVENT_BYTES = 2 * MAX_PRODUCT_BYTES
"""JSON escapes can make a product's text longer than the product."""

KEPT_FIELDS, KEPT_BYTES = 20, 10_000
"""What is kept of an oversized event: its first fields, and the beginning of each."""

FIELDS = ("event_type", "product_id", "timestamp", "data", "original_id", "replays")

Raw = Mapping[bytes, bytes]

_decoder = msgspec.json.Decoder(dict[str, object])
_failure_decoder = msgspec.json.Decoder(Failure)


def delivery(
    raw: Raw | None, *, entry_id: str, consumer: str, attempt: int, failure: Failure | None = None
) -> Delivery | None:
    """Return the delivery of an entry, whose body may be gone, or None if it is no event at all."""
    event = LostEvent() if raw is None else decode(raw)
    if event is None:
        return None
    position = Position.parse(entry_id)
    if isinstance(event, ProductEvent) and raw is not None:
        position = place(raw, entry_id)
    return Delivery(
        entry_id=entry_id,
        position=position,
        consumer=consumer,
        attempt=attempt,
        event=event,
        failure=failure,
        replays=counted(text((raw or {}).get(b"replays", b""))),
    )


def decode(raw: Raw) -> ProductEvent | UndecodableEvent | None:
    """Return the event in ``raw``, what is wrong with it, or None if it is no event at all.

    No event at all is an entry without ``event_type`` and ``product_id``, such as ``init: true``.
    """
    if b"event_type" not in raw and b"product_id" not in raw:
        return None
    try:
        return _decode(raw)
    except InvalidEvent as error:
        kept = _beginning(raw) if error.cause == "oversized" else raw
        return UndecodableEvent(cause=error.cause, reason=str(error), raw=printable(kept))
    except InvalidProduct as error:
        return UndecodableEvent(cause="invalid", reason=str(error), raw=printable(raw))


def place(raw: Raw, entry_id: str) -> Position:
    """Return where the event counts: where it first stood, if it is a replayed one.

    Nobody may count later than where they are: what is newer would be held for older.
    """
    here = Position.parse(entry_id)
    try:
        return min(here, Position.parse(raw.get(b"original_id", b"").decode("ascii")))
    except ValueError:
        return here


def failure(raw: bytes | str | None) -> Failure | None:
    """Return the failure that JSON says; None where it says none, or was garbled."""
    try:
        return _failure_decoder.decode(raw or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def printable(raw: Raw) -> dict[str, str]:
    """Return the entry as text, with ``\\xNN`` where it is not UTF-8."""
    return {text(name): text(value) for name, value in raw.items()}


def _decode(raw: Raw) -> ProductEvent:
    size = sum(len(name) + len(value) for name, value in raw.items())
    if size > MAX_EVENT_BYTES:
        raise InvalidEvent(
            f"the event is {size} bytes long; at most {MAX_EVENT_BYTES} are allowed",
            cause="oversized",
        )
    try:
        fields = {name: raw.get(name.encode(), b"").decode() for name in FIELDS}
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"a field is not UTF-8: {error.reason}", cause="not-utf-8") from None
    kind = fields["event_type"]
    try:
        event_type = EventType(kind)
    except ValueError:
        raise InvalidEvent(
            f"unknown event_type {kind[:60]!r}; it must be create, update or delete",
            cause="unknown-type",
        ) from None
    if not fields["product_id"].strip():
        raise InvalidEvent("the event has no product_id", cause="no-id")
    product_id = clean_id(fields["product_id"])
    data: dict[str, object] = {}
    if event_type is not EventType.DELETE:
        data = _data(fields["data"])
        inner = data.pop("id", None)
        if inner is not None and clean_id(inner) != product_id:
            raise InvalidEvent(f"data names another product: {clean_id(inner)!r}")
    return ProductEvent(
        type=event_type,
        product_id=product_id,
        fields=clean_fields(data),
        timestamp=fields["timestamp"],
    )


def _data(raw: str) -> dict[str, object]:
    try:
        return _decoder.decode(raw or "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidEvent(f"data is not a JSON object: {error}") from None


def _beginning(raw: Raw) -> Raw:
    fields = islice(raw.items(), KEPT_FIELDS)
    return {name[:KEPT_BYTES]: value[:KEPT_BYTES] for name, value in fields}


def text(raw: bytes) -> str:
    """Return bytes as text, with ``\\xNN`` where they are not UTF-8."""
    return raw.decode("utf-8", "backslashreplace")
