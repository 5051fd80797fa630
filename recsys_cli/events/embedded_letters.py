"""Dead letters in the embedded file: rows of JSON; a letter's id is its row's number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from recsys_cli.connections.sqlite import EmbeddedFile, named_queries
from recsys_cli.deliveries import DeadLetter
from recsys_cli.events import codec

_SQL = named_queries(Path(__file__).with_suffix(".sql"))
_PAGE = 500

_decoder = msgspec.json.Decoder(DeadLetter)


class EmbeddedDeadLetters:
    """See ports.DeadLetters: those of ``stream`` in ``file``."""

    def __init__(self, file: EmbeddedFile, *, stream: str) -> None:
        self._file = file
        self._stream = stream

    def letters(self, *, newest_first: bool = False) -> Iterator[DeadLetter]:
        (last,) = self._rows("last_letter")[0]
        query, after = ("newest_first", last + 1) if newest_first else ("oldest_first", 0)
        while True:
            page = self._rows(query, after=after, until=last, count=_PAGE)
            yield from map(_letter, page)
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def find(self, letter_id: str) -> DeadLetter | None:
        number = _number(letter_id)
        rows = [] if number is None else self._rows("find", letter=number)
        return _letter(rows[0]) if rows else None

    def replay(self, letter: DeadLetter) -> bool:
        entry = letter.as_replayed
        event = {name: entry.get(name) for name in codec.FIELDS}
        names = {"stream_name": self._stream, "letter": _number(letter.id)}
        with self._file.transaction() as connection:
            was_there = connection.execute(_SQL["drop"], names).rowcount == 1
            if was_there:
                connection.execute(_SQL["add_event_again"], names | event)
        return was_there

    def purge(self, letter_ids: Sequence[str]) -> int:
        with self._file.transaction() as connection:
            return sum(
                connection.execute(
                    _SQL["drop"], {"stream_name": self._stream, "letter": _number(letter_id)}
                ).rowcount
                for letter_id in letter_ids
            )

    def close(self) -> None:
        self._file.close()

    def _rows(self, query: str, **parameters: int) -> list[Sequence[Any]]:
        with self._file.reading() as connection:
            return connection.execute(
                _SQL[query], {"stream_name": self._stream, **parameters}
            ).fetchall()


def _letter(row: Sequence[Any]) -> DeadLetter:
    number, letter = row
    return msgspec.structs.replace(_decoder.decode(letter), id=str(number))


def _number(letter_id: str) -> int | None:
    return int(letter_id) if re.fullmatch("[0-9]{1,18}", letter_id) else None
