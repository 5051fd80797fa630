"""The form of an event on every stream: four text fields, which other programs read and write.

event_type   create | update | delete
product_id   any text
timestamp    ISO 8601, UTC
data         JSON object: the whole product, the changed fields, or {} for a delete
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from recsys_cli.cleaning import MAX_PRODUCT_BYTES, clean_fields, clean_id
from recsys_cli.domain import EventType, ProductEvent, UndecodableEvent
from recsys_cli.errors import InvalidEvent, InvalidProduct

MAX_EVENT_BYTES = 2 * MAX_PRODUCT_BYTES
"""JSON escapes can make a product's text longer than the product."""

_decoder = msgspec.json.Decoder(dict[str, object])


def decode(raw: Mapping[bytes, bytes]) -> ProductEvent | UndecodableEvent | None:
    """Return the event in ``raw``, what is wrong with it, or None if it is no event at all.

    No event at all is an entry without ``event_type`` and ``product_id``, such as ``init: true``.
    """
    if b"event_type" not in raw and b"product_id" not in raw:
        return None
    try:
        return _decode(raw)
    except (InvalidEvent, InvalidProduct) as error:
        return UndecodableEvent(reason=str(error), raw=printable(raw))


def printable(raw: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the entry as text, with ``\\xNN`` where it is not UTF-8."""
    return {_text(name): _text(value) for name, value in raw.items()}


def _decode(raw: Mapping[bytes, bytes]) -> ProductEvent:
    size = sum(map(len, raw.values()))
    if size > MAX_EVENT_BYTES:
        raise InvalidEvent(f"the event is {size} bytes long; at most {MAX_EVENT_BYTES} are allowed")
    kind = _text(raw.get(b"event_type", b""))
    try:
        event_type = EventType(kind)
    except ValueError:
        raise InvalidEvent(
            f"unknown event_type {kind[:60]!r}; it must be create, update or delete"
        ) from None
    try:
        product_id = clean_id(raw.get(b"product_id", b"").decode())
        timestamp = raw.get(b"timestamp", b"").decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"a field is not UTF-8: {error.reason}") from None
    data: dict[str, object] = {}
    if event_type is not EventType.DELETE:
        data = _data(raw.get(b"data", b""))
        inner = data.pop("id", None)
        if inner is not None and clean_id(inner) != product_id:
            raise InvalidEvent(f"data names another product: {clean_id(inner)!r}")
    return ProductEvent(
        type=event_type, product_id=product_id, fields=clean_fields(data), timestamp=timestamp
    )


def _data(raw: bytes) -> dict[str, object]:
    try:
        return _decoder.decode(raw or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"data is not a JSON object: {error}") from None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
