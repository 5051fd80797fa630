"""Dead letters on Postgres: rows of JSON; a letter's id is its row's number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from recsys_cli.connections.postgres import PostgresConnection
from recsys_cli.deliveries import DeadLetter
from recsys_cli.events import supabase_messages as messages
from recsys_cli.events.supabase_groups import PART, open_stream

_PAGE = 500

_LAST = "SELECT coalesce(max(id), 0) FROM {schema}.letters WHERE stream = %s"
_OLDEST = """
    SELECT id, letter FROM {schema}.letters WHERE stream = %s AND id > %s AND id <= %s
    ORDER BY id LIMIT %s"""
_NEWEST = """
    SELECT id, letter FROM {schema}.letters WHERE stream = %s AND id < %s AND id <= %s
    ORDER BY id DESC LIMIT %s"""
_FIND = "SELECT id, letter FROM {schema}.letters WHERE stream = %s AND id = %s"
_DROP = "DELETE FROM {schema}.letters WHERE stream = %s AND id = ANY(%s::bigint[])"
_SEND = "SELECT pgmq.send_batch(%s::text, ARRAY[%s]::jsonb[])"

_decoder = msgspec.json.Decoder(DeadLetter)


class SupabaseDeadLetters:
    """See ports.DeadLetters: those of ``stream`` in the table letters of the schema."""

    def __init__(self, connection: PostgresConnection, *, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    def letters(self, *, newest_first: bool = False) -> Iterator[DeadLetter]:
        last = self._rows(_LAST)[0][0]
        query, after = (_NEWEST, last + 1) if newest_first else (_OLDEST, 0)
        while True:
            page = self._rows(query, after, last, _PAGE)
            yield from map(_letter, page)
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def find(self, letter_id: str) -> DeadLetter | None:
        rows = [row for i in _numbers([letter_id]) for row in self._rows(_FIND, i)]
        return _letter(rows[0]) if rows else None

    def replay(self, letter: DeadLetter) -> bool:
        message = messages.encode(letter.as_replayed)
        with self._connection.transaction(PART) as session:
            drop = self._connection.query(_DROP)
            numbers = _numbers([letter.id])
            if session.execute(drop, [self._stream, numbers]).rowcount != 1:
                return False
            queue = open_stream(self._connection, session, self._stream)
            session.execute(_SEND, [queue, message])
        return True

    def purge(self, letter_ids: Sequence[str]) -> int:
        query = self._connection.query(_DROP)
        return self._connection.run(PART, query, [self._stream, _numbers(letter_ids)]).rowcount

    def close(self) -> None:
        self._connection.close()

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        found = self._connection.run(PART, self._connection.query(query), [self._stream, *values])
        return found.fetchall()


def _letter(row: Sequence[Any]) -> DeadLetter:
    number, letter = row
    return msgspec.structs.replace(_decoder.decode(letter), id=str(number))


def _numbers(letter_ids: Sequence[str]) -> list[int]:
    return [int(i) for i in letter_ids if re.fullmatch("[0-9]{1,18}", i)]
