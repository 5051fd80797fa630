"""Events as messages of pgmq: JSON objects with the fields of events/codec.py, all text.

``data`` may also be a JSON object, as other programs would naturally send it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from recsys_cli.domain import Position

_PLAIN = re.compile(r"[a-z0-9:]{1,40}")
_KEPT_CHARACTERS = 30

_decoder = msgspec.json.Decoder(dict[str, object])
_encoder = msgspec.json.Encoder(order="deterministic")


def queue_of(stream: str, group: str = "") -> str:
    """Return the name of the queue: legal in pgmq (at most 47 characters), and of this pair only.

    ``product:updates`` is ``product_updates``; other names get a hash, so that none are alike.
    """
    plain = re.sub("[^a-z0-9]", "_", stream.lower())[:_KEPT_CHARACTERS]
    if not group and _PLAIN.fullmatch(stream):
        return stream.replace(":", "_")
    digest = hashlib.sha256(f"{stream}\0{group}".encode()).hexdigest()
    return f"{plain}_{digest[:16]}"


def encode(fields: Mapping[str, str]) -> str:
    """Return the message. What jsonb cannot hold, a NUL, is in ``data`` as an escape of JSON."""
    return _encoder.encode({n: v.replace("\0", "\ufffd") for n, v in fields.items()}).decode()


def decode(message: str) -> dict[bytes, bytes]:
    """Return what the codec reads.

    Of a message that is no object, too deep, or has a number too large: an event of no type.
    """
    try:
        found = _decoder.decode(message)
        return {n.encode(): _text(value) for n, value in found.items() if value is not None}
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {b"event_type": b"", b"data": message.encode()}


def number(entry_id: str) -> int:
    return Position.parse(entry_id).major


def _text(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else _encoder.encode(value)
