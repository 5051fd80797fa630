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
from recsys_cli.deliveries import (
    DeadLetter,
    Delivery,
    Failure,
    LostEvent,
    UndecodableEvent,
    counted,
)
from recsys_cli.domain import EventType, Position, ProductEvent
from recsys_cli.errors import InvalidEvent, InvalidProduct

MAX_EVENT_BYTES = 2 * MAX_PRODUCT_BYTES
"""JSON escapes can make a product's text longer than the product."""

KEPT_FIELDS, KEPT_BYTES = 20, 10_000
"""What is kept of an oversized event: its first fields, and the beginning of each."""

FIELDS = ("event_type", "product_id", "timestamp", "data", "original_id", "replays")

_NAMES = [name.encode() for name in FIELDS]
_TYPES = {kind.value: kind for kind in EventType}

Raw = Mapping[bytes, bytes]

_decoder = msgspec.json.Decoder(dict[str, object])
_text_decoder = msgspec.json.Decoder(dict[str, str])
_failure_decoder = msgspec.json.Decoder(Failure)


def delivery(
    raw: Raw | None, *, entry_id: str, consumer: str, attempt: int, failure: Failure | None = None
) -> Delivery | None:
    """Return the delivery of an entry, whose body may be gone, or None if it is no event at all."""
    event = LostEvent() if raw is None else decode(raw)
    if event is None:
        return None
    raw = raw or {}
    return Delivery(
        entry_id=entry_id,
        position=place(raw, entry_id),
        consumer=consumer,
        attempt=attempt,
        event=event,
        failure=failure,
        replays=counted(text(raw[b"replays"])) if b"replays" in raw else 0,
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
    if b"original_id" not in raw:
        return here
    try:
        return min(here, Position.parse(raw[b"original_id"].decode("ascii")))
    except ValueError:
        return here


def failure(raw: bytes | str | None) -> Failure | None:
    """Return the failure that JSON says; None where it says none, or was garbled."""
    try:
        return _failure_decoder.decode(raw or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def letter_fields(letter: DeadLetter) -> dict[str, str | int]:
    """Return what is kept of a dead letter beside its id and its event."""
    return {
        "entry_id": letter.entry_id,
        "cause": letter.cause,
        "error": letter.error,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
    }


def dead_letter(letter_id: str, raw: Raw) -> DeadLetter:
    """Return the letter whose fields are these, and whose ``event`` is JSON, names to texts.

    What another program left out or garbled is empty.
    """
    fields = printable(raw)
    try:
        event = _text_decoder.decode(raw.get(b"event", b"{}"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        event = {"event": fields["event"]}
    return DeadLetter(
        id=letter_id,
        entry_id=fields.get("entry_id", ""),
        raw=event,
        cause=fields.get("cause", ""),
        error=fields.get("error", ""),
        attempts=counted(fields.get("attempts", "")),
        first_failed_at=fields.get("first_failed_at", ""),
        last_failed_at=fields.get("last_failed_at", ""),
    )


def printable(raw: Raw) -> dict[str, str]:
    """Return the entry as text, with ``\\xNN`` where it is not UTF-8."""
    return {text(name): text(value) for name, value in raw.items()}


def _decode(raw: Raw) -> ProductEvent:
    size = sum(map(len, raw)) + sum(map(len, raw.values()))
    if size > MAX_EVENT_BYTES:
        raise InvalidEvent(
            f"the event is {size} bytes long; at most {MAX_EVENT_BYTES} are allowed",
            cause="oversized",
        )
    try:
        kind, named, timestamp, data, *_ = [raw.get(name, b"").decode() for name in _NAMES]
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"a field is not UTF-8: {error.reason}", cause="not-utf-8") from None
    event_type = _TYPES.get(kind)
    if event_type is None:
        raise InvalidEvent(
            f"unknown event_type {kind[:60]!r}; it must be create, update or delete",
            cause="unknown-type",
        )
    if not named.strip():
        raise InvalidEvent("the event has no product_id", cause="no-id")
    product_id = clean_id(named)
    fields: dict[str, object] = {}
    if event_type is not EventType.DELETE:
        fields = _data(data)
        inner = fields.pop("id", None)
        if inner is not None and inner != product_id and clean_id(inner) != product_id:
            raise InvalidEvent(f"data names another product: {clean_id(inner)!r}")
    return ProductEvent(
        type=event_type, product_id=product_id, fields=clean_fields(fields), timestamp=timestamp
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
