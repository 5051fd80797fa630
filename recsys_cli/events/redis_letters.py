"""Dead letters on Redis: the stream ``{stream}:dead``, one entry a letter, all fields text.

entry_id                          of the event on the stream it was taken from
cause, error                      why it was given up: in a word, and in a sentence
attempts                          how often it was delivered
first_failed_at, last_failed_at   ISO 8601, UTC
event                             JSON object: the entry as it was, field by field
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from recsys_cli.connections.redis import (
    Argument,
    ErrorReply,
    LuaScript,
    RedisConnection,
    Reply,
    flat,
    pairs,
)
from recsys_cli.deliveries import DeadLetter
from recsys_cli.events import codec

_PAGE = 500

_replay = LuaScript(Path(__file__).with_name("redis_replay.lua"))
_encoder = msgspec.json.Encoder(order="deterministic")


class RedisDeadLetters:
    """See ports.DeadLetters. A letter's id is that of its entry in ``{stream}:dead``."""

    def __init__(self, connection: RedisConnection, *, stream: str) -> None:
        self._connection = connection
        self._stream = stream
        self._dead = key(stream)

    def letters(self, *, newest_first: bool = False) -> Iterator[DeadLetter]:
        last = self._connection.call("XREVRANGE", self._dead, "+", "-", "COUNT", 1)
        if not last:
            return
        newest = last[0][0].decode()
        start = newest if newest_first else "-"
        while True:
            page = self._page(start, newest_first=newest_first, newest=newest)
            yield from (decode(letter_id, raw) for letter_id, raw in page)
            if len(page) < _PAGE:
                return
            start = f"({page[-1][0].decode()}"

    def find(self, letter_id: str) -> DeadLetter | None:
        try:
            found = self._connection.call("XRANGE", self._dead, letter_id, letter_id)
        except ErrorReply as error:
            # Whatever was typed as an id.
            if "Invalid stream ID" not in error.reply:
                raise
            return None
        return decode(*found[0]) if found else None

    def replay(self, letter: DeadLetter) -> bool:
        event = flat(letter.as_replayed)
        (done,) = self._connection.run(_replay, [((self._dead, self._stream), (letter.id, *event))])
        return bool(done)

    def purge(self, letter_ids: Sequence[str]) -> int:
        return sum(self._connection.pipeline(("XDEL", self._dead, i) for i in letter_ids))

    def close(self) -> None:
        self._connection.close()

    def _page(self, start: str, *, newest_first: bool, newest: str) -> list[Reply]:
        command, end = ("XREVRANGE", "-") if newest_first else ("XRANGE", newest)
        rows: list[Reply] = self._connection.call(command, self._dead, start, end, "COUNT", _PAGE)
        return rows


def key(stream: str) -> str:
    return f"{stream}:dead"


def encode(letter: DeadLetter) -> list[Argument]:
    """Return names and values in turn, as XADD takes them."""
    return flat({**codec.letter_fields(letter), "event": _encoder.encode(letter.raw)})


def decode(letter_id: bytes, entry: Sequence[bytes]) -> DeadLetter:
    return codec.dead_letter(letter_id.decode(), pairs(entry))
