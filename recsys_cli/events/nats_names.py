"""What a stream of events is called on NATS, and the form of an event there.

Of the stream ``product:updates``:

    product-updates          the stream; subjects ``product.updates.{partition}``
    product-updates-dead     the dead letters; ``product.updates.dead.{group}.{sequence}``
    product-updates-groups   a key-value bucket: what each group has in hand, see ``nats_ledger``

An event is a JSON object with the fields of ``codec.py``. ``data`` is an object or its text, both
are read. A product's events are all on one subject, so they keep their order wherever it counts by
subject; which one it is, is up to the publisher: the last token may be anything.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping

import msgspec

from recsys_cli.connections import nats_protocol
from recsys_cli.domain import Position

PARTITIONS = 16

_LONGEST_TOKEN = 120
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)


class Names:
    """The names that belong to one stream of events."""

    def __init__(self, key: str) -> None:
        tokens = [token(part) for part in key.split(":")]
        self.stream = "-".join(tokens)
        self.prefix = ".".join(tokens)
        self.subjects = f"{self.prefix}.*"
        self.dead = f"{self.stream}-dead"
        self.dead_subjects = f"{self.prefix}.dead.*.*"
        self.groups = f"KV_{self.stream}-groups"
        self._keys = f"$KV.{self.stream}-groups"

    def subject(self, product_id: str) -> str:
        """Return the subject of a product's events, the same on every machine."""
        return f"{self.prefix}.{zlib.crc32(product_id.encode()) % PARTITIONS}"

    def letter(self, group: str, entry_id: str) -> str:
        """Return the subject of the one letter that an event can have in a group."""
        return f"{self.prefix}.dead.{token(group)}.{sequence(entry_id)}"

    def ledger(self, durable: str) -> str:
        """Return the subject of the ledger of a group by the name of its durable consumer."""
        return f"{self._keys}.{durable}.ledger"

    def acknowledgement(self, durable: str, number: int) -> str:
        """Return the subject on which an event is acknowledged, whoever has received it."""
        # deliveries, sequence, sequence of the consumer, time, pending; 0 is no consumer sequence,
        # with which a second acknowledgement moves nothing.
        return f"$JS.ACK.{self.stream}.{durable}.1.{number}.0.0.0"

    def failure(self, durable: str, number: int | str) -> str:
        """Return the subject under which an event's last failure is; ``*`` for all."""
        return f"{self._keys}.{durable}.failure.{number}"

    @property
    def keys(self) -> str:
        return f"{self._keys}.>"


def token(text: str) -> str:
    """Return ``text`` as one token of a subject, see ``nats_protocol.token``.

    A very long one is cut, and a digest of it all takes the place of the rest.
    """
    plain = nats_protocol.token(text)
    if len(plain) <= _LONGEST_TOKEN:
        return plain
    return f"{plain[:_LONGEST_TOKEN]}={hashlib.sha256(text.encode()).hexdigest()[:16]}"


def sequence(entry_id: str) -> int:
    return Position.parse(entry_id).major


def entry_id(number: int) -> str:
    return str(Position(number, 0))


def encode(fields: Mapping[str, str]) -> bytes:
    """Return the message; ``data`` is an object in it where it is one."""
    data = fields.get("data", "")
    if not data.startswith("{"):
        return _encoder.encode(fields)
    try:
        _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return _encoder.encode(fields)
    return _encoder.encode({**fields, "data": msgspec.Raw(data.encode())})


def decode(message: bytes) -> dict[bytes, bytes]:
    """Return what the codec reads. Of a message that is no JSON object, an event of no type."""
    try:
        found = _decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {b"event_type": b"", b"data": message}
    return {
        name.encode(): _value(bytes(raw)) for name, raw in found.items() if bytes(raw) != b"null"
    }


def _value(raw: bytes) -> bytes:
    if not raw.startswith(b'"'):
        return raw
    try:
        return _text_decoder.decode(raw).encode()
    except (msgspec.MsgspecError, UnicodeError):
        # The codec finds out why.
        return raw[1:-1]
