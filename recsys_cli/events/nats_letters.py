"""Dead letters on NATS: a stream of their own, a message a letter, and its sequence is its id.

entry_id                          of the event on the stream it was taken from
cause, error                      why it was given up: in a word, and in a sentence
attempts                          how often it was delivered
first_failed_at, last_failed_at   ISO 8601, UTC
event                             JSON object: the entry as it was, field by field

To bury an event is to keep its letter, then to acknowledge it. The letter has a subject of this
event alone, on which it may only be the first: who is killed in between leaves the event pending,
on its last attempt, and whoever buries it next finds the letter there and only acknowledges. So
does whoever replays the letter before that.

Whether the event is still pending is looked up just before. Another consumer that acknowledges it
in between, or a replay that takes the letter a killed burial left, leaves a letter of an event that
is done: nothing is lost, and its replay undoes nothing newer. To delete it afterwards would not be
safe: it may be the one that somebody else has found there, and acknowledged on the strength of.

To replay a letter is to publish its event, then to delete it. The message id names the letter and
the end of its subject, ``replay.{letter}.{sequence}``. Who is killed in between leaves the letter:

- The next replay, within the stream's duplicates window (two minutes), deletes it and publishes
  nothing. Later, the event comes a second time, at the position where it first stood, and changes
  nothing.
- Should the event die again, its new letter takes the place of the one that was left, in one step:
  a subject holds one letter. Only of what is word for word what the replay published.
- Should it succeed, the letter stays. The next replay of it changes nothing, and drops it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from recsys_cli.connections.nats_protocol import EXPECTED_SEQUENCE, MESSAGE_ID
from recsys_cli.deliveries import DeadLetter
from recsys_cli.events import codec
from recsys_cli.events import nats_api as api
from recsys_cli.events.nats_api import Conflict, Missing, Request, Stored
from recsys_cli.events.nats_ledger import Ledger
from recsys_cli.events.nats_names import Names, decode, encode, entry_id, sequence

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from recsys_cli.connections.nats import NatsConnection

_PAGE = 500
_WIDEST = 8 * _PAGE
_HEADERS_BYTES = 1024
_LARGEST_ID = 2**63
_DELETE_FAILED = 10057
_REPLAY_ID = re.compile(r"replay\.([0-9]{1,19})\.([0-9]{1,19})")
_encoder = msgspec.json.Encoder(order="deterministic")


class NatsDeadLetters:
    """See ports.DeadLetters."""

    def __init__(self, connection: NatsConnection, *, stream: str) -> None:
        self._connection = connection
        self._names = Names(stream)

    def letters(self, *, newest_first: bool = False) -> Iterator[DeadLetter]:
        first, last = self._connection.call(self._ends)
        pages = self._backward(first, last) if newest_first else self._forward(first, last)
        for page in pages:
            yield from map(_letter, page)

    def find(self, letter_id: str) -> DeadLetter | None:
        number = _number(letter_id)
        if number is None:
            return None
        found = self._connection.call(lambda client: self._get(client, number))
        return _letter(found) if found else None

    def replay(self, letter: DeadLetter) -> bool:
        number = _number(letter.id)
        if number is None:
            return False

        async def replay(client: Client) -> bool:
            found = await self._get(client, number)
            if found is None:
                return False
            await self._acknowledge(client, found)
            place = found.subject.rpartition(".")[2]
            fields = letter.as_replayed
            request = Request(
                self._names.subject(fields.get("product_id", "")),
                encode(fields),
                {MESSAGE_ID: f"replay.{number}.{place}"},
            )
            try:
                await self._put(client, request)
            except NoRespondersError:
                await api.make_streams(client, self._names)
                await self._put(client, request)
            if await self._delete(client, [number]) == 1:
                return True
            # The event may have died again already, and its letter taken the place of this one.
            dead = self._names.dead
            return await api.get_one(client, dead, last_by_subj=found.subject) is not None

        return self._connection.call(replay)

    def purge(self, letter_ids: Sequence[str]) -> int:
        numbers = [number for each in letter_ids if (number := _number(each)) is not None]
        return self._connection.call(lambda client: self._delete(client, numbers))

    def close(self) -> None:
        self._connection.close()

    def _forward(self, first: int, last: int) -> Iterator[list[Stored]]:
        while first <= last:
            page = self._connection.call(lambda client, at=first: self._page(client, at, _PAGE))  # type: ignore[misc]
            if not page:
                return
            yield [message for message in page if message.sequence <= last]
            first = page[-1].sequence + 1

    def _backward(self, first: int, last: int) -> Iterator[list[Stored]]:
        """Yield windows of sequences, wider ones where letters have become few."""
        width = _PAGE
        while last >= first:
            start = max(last - width + 1, first)
            window = [message for page in self._forward(start, last) for message in page]
            yield window[::-1]
            last = start - 1
            width = min(width * 2, _WIDEST) if len(window) < width // 2 else _PAGE

    async def _ends(self, client: Client) -> tuple[int, int]:
        """Return the first and the last sequence; the last is lower where there is no letter."""
        try:
            state = (await api.ask(client, f"STREAM.INFO.{self._names.dead}"))["state"]
        except Missing:
            return 1, 0
        return state["first_seq"], state["last_seq"]

    async def _page(self, client: Client, start: int, limit: int) -> list[Stored]:
        names = self._names
        try:
            return await api.page(client, names.dead, names.dead_subjects, start, limit)
        except Missing:
            return []

    async def _get(self, client: Client, number: int) -> Stored | None:
        return await api.get_one(client, self._names.dead, seq=number)

    async def _acknowledge(self, client: Client, stored: Stored) -> None:
        """Acknowledge the letter's event if its group still holds it: who buried it was killed."""
        durable = stored.subject.split(".")[-2]
        subject = self._names.ledger(durable)
        try:
            number = sequence(_letter(stored).entry_id)
        except ValueError:
            return  # none that ``keep`` has made
        while noted := await api.get_one(client, self._names.groups, last_by_subj=subject):
            ledger = Ledger.decode(noted.body)
            if not ledger.finish([number]):
                return
            with suppress(Conflict):
                await api.put(client, subject, ledger.encode(), noted.sequence)
                await api.settle(client, self._names, durable, [number], [number])
                return

    async def _put(self, client: Client, request: Request) -> None:
        (reply,) = await api.ask_many(client, [request])
        api.answer(reply)

    async def _delete(self, client: Client, numbers: Sequence[int]) -> int:
        subject = f"$JS.API.STREAM.MSG.DELETE.{self._names.dead}"
        replies = await api.ask_many(
            client, [Request(subject, _encoder.encode({"seq": number})) for number in numbers]
        )
        return sum(map(_is_deleted, replies))


async def keep(client: Client, names: Names, group: str, letters: Sequence[DeadLetter]) -> None:
    """Store each letter unless the group has one of that event already."""
    most = client.max_payload - _HEADERS_BYTES
    places = await _places(client, names, group, letters)
    requests = [
        Request(subject, _encoded(letter, most), {EXPECTED_SEQUENCE: str(replaced)})
        for letter, (subject, replaced) in zip(letters, places, strict=True)
    ]
    replies = await api.ask_many(client, requests)
    again = []
    for letter, (_, replaced), reply in zip(letters, places, replies, strict=True):
        try:
            api.answer(reply)
        except Conflict:
            if replaced:
                again.append(letter)
    if again:
        # What they should have replaced is gone meanwhile: replayed, purged or replaced.
        await keep(client, names, group, again)


async def _places(
    client: Client, names: Names, group: str, letters: Sequence[DeadLetter]
) -> list[tuple[str, int]]:
    """Return the subject of each letter, and which letter it replaces there, 0 for none."""
    places = {each.entry_id: (names.letter(group, each.entry_id), 0) for each in letters}
    replayed = [letter for letter in letters if letter.replays]
    numbers = [sequence(letter.entry_id) for letter in replayed]
    events = await api.ask_many(client, [api.get(names.stream, seq=n) for n in numbers])
    known = [
        (letter, event, int(ids[1]), names.letter(group, entry_id(int(ids[2]))))
        for letter, event in zip(replayed, map(api.found, events), strict=True)
        if event and (ids := _REPLAY_ID.fullmatch(event.message_id))
    ]
    there = await api.ask_many(
        client, [api.get(names.dead, last_by_subj=subject) for *_, subject in known]
    )
    for (letter, event, number, subject), left in zip(known, map(api.found, there), strict=True):
        if left is None:
            continue
        old = _letter(left)
        if old.entry_id == letter.entry_id:
            places[letter.entry_id] = subject, 0
        elif left.sequence == number and old.as_replayed == codec.printable(decode(event.body)):
            places[letter.entry_id] = subject, number
    return [places[letter.entry_id] for letter in letters]


def _encoded(letter: DeadLetter, most: int) -> bytes:
    """Return the letter; of what would not fit, the beginning: first of why, then of the event."""
    change, kept = msgspec.structs.replace, codec.KEPT_BYTES
    if len(whole := _encode(letter)) > most:
        whole = _encode(change(letter, error=letter.error[:kept]))
    if len(whole) > most:
        some = islice(letter.raw.items(), codec.KEPT_FIELDS)
        raw = {name[:kept]: value[:kept] for name, value in some}
        error = f"{letter.cause}: {letter.error[:kept]}"
        whole = _encode(change(letter, raw=raw, cause="oversized", error=error))
    return whole


def _encode(letter: DeadLetter) -> bytes:
    # As it was on the stream: as text within text it could be twice as long.
    event = msgspec.Raw(encode(letter.raw))
    return _encoder.encode({**codec.letter_fields(letter), "event": event})


def _letter(message: Stored) -> DeadLetter:
    fields = decode(message.body)
    event = decode(fields.get(b"event", b"{}"))
    text = _encoder.encode(codec.printable(event))
    return codec.dead_letter(str(message.sequence), {**fields, b"event": text})


def _number(letter_id: str) -> int | None:
    if not (letter_id.isascii() and letter_id.isdecimal()) or len(letter_id) > 19:
        return None
    number = int(letter_id)
    return number if 0 < number < _LARGEST_ID else None


def _is_deleted(reply: Msg) -> bool:
    try:
        api.answer(reply)
    except Missing:
        return False
    except APIError as error:
        if error.err_code != _DELETE_FAILED:
            raise
        return False
    return True
