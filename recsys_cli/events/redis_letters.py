"""Dead letters on Redis: the stream ``{stream}:dead``, one entry a letter, all fields text.

entry_id                          of the event on the stream it was taken from
cause, error                      why it was given up: in a word, and in a sentence
attempts                          how often it was delivered
first_failed_at, last_failed_at   ISO 8601, UTC
event                             JSON object: the entry as it was, field by field
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from recsys_cli.connections.redis import Argument
from recsys_cli.domain import DeadLetter
from recsys_cli.events.codec import printable

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(dict[str, str])


def key(stream: str) -> str:
    return f"{stream}:dead"


def encode(letter: DeadLetter) -> list[Argument]:
    """Return names and values in turn, as XADD takes them."""
    return [
        *("entry_id", letter.entry_id),
        *("cause", letter.cause),
        *("error", letter.error),
        *("attempts", letter.attempts),
        *("first_failed_at", letter.first_failed_at),
        *("last_failed_at", letter.last_failed_at),
        *("event", _encoder.encode(letter.raw)),
    ]


def decode(raw: Mapping[bytes, bytes]) -> DeadLetter:
    """Return the letter; what another program left out or garbled is empty."""
    fields = printable(raw)
    attempts = fields.get("attempts", "")
    try:
        event = _decoder.decode(raw.get(b"event", b"{}"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        event = {"event": fields["event"]}
    return DeadLetter(
        entry_id=fields.get("entry_id", ""),
        raw=event,
        cause=fields.get("cause", ""),
        error=fields.get("error", ""),
        attempts=int(attempts) if attempts.isdecimal() else 0,
        first_failed_at=fields.get("first_failed_at", ""),
        last_failed_at=fields.get("last_failed_at", ""),
    )
