"""What a consumer group has in hand: one small document, changed by compare-and-set.

JetStream counts deliveries and keeps what is not acknowledged, but it does not say who holds what,
cannot hand out one event of many again and leave the others' counts alone, and after a kill may
have forgotten the last acknowledgements. So each group has a ledger:

    made    when the server made the group: a ledger of an earlier group of that name says nothing
    done    which sequences are acknowledged, as runs [first, last]
    holds   per sequence: who holds it, since when, on which attempt
    seen    when each consumer last asked

An event is handed out only after it is noted here, and acknowledged on the server only after it is
noted here as done. Whatever process dies in between, the server delivers the event again after
``ack_wait``, and the ledger tells whether it is done (then it is acknowledged once more), held
(then it is left alone), or was fetched by somebody who died before he could note it (then ``holds``
has it without a consumer, with the attempts that the server has counted).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

NOBODY = ""
"""Who holds what was fetched and not noted."""


class Hold(NamedTuple):
    """Times are in ms of the server's clock."""

    consumer: str
    since_ms: int
    attempts: int

    def idle_ms(self, now_ms: int) -> int:
        """Return for how long it is held; 0 where the clock of who took it was a bit ahead."""
        return max(now_ms - self.since_ms, 0)


class Runs:
    """A set of numbers, kept as runs [first, last] in order."""

    def __init__(self, runs: Iterable[Sequence[int]] = ()) -> None:
        self._runs = [(run[0], run[1]) for run in runs]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._runs, number, key=lambda run: run[0])
        return place > 0 and number <= self._runs[place - 1][1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._runs)

    def add(self, first: int, last: int) -> None:
        """Take in all from ``first`` to ``last``."""
        low = bisect_right(self._runs, first - 1, key=lambda run: run[0])
        if low and self._runs[low - 1][1] >= first - 1:
            low -= 1
        high = bisect_right(self._runs, last + 1, key=lambda run: run[0])
        merged = self._runs[low:high]
        if merged:
            first, last = min(first, merged[0][0]), max(last, merged[-1][1])
        self._runs[low:high] = [(first, last)]


class _Page(msgspec.Struct, array_like=True):
    """Those of one consumer, time and attempt: runs of sequences."""

    consumer: str
    since_ms: int
    attempts: int
    runs: list[tuple[int, int]]


class _Document(msgspec.Struct):
    made: str = ""
    done: list[tuple[int, int]] = []
    holds: list[_Page] = []
    seen: dict[str, int] = {}


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Document)


class Noted(NamedTuple):
    """What became of fetched messages: ``taken`` are ours, ``done`` must be acknowledged again."""

    taken: list[int]
    done: list[int]


class Ledger:
    """See above. Methods that change it return whether, or what, they changed."""

    def __init__(self, made: str) -> None:
        self.made = made
        self.done = Runs()
        self.holds: dict[int, Hold] = {}
        self.seen: dict[str, int] = {}

    @classmethod
    def decode(cls, raw: bytes) -> Ledger:
        """Return the ledger that was encoded; an empty one where it cannot be read."""
        try:
            document = _decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeError):
            document = _Document()
        ledger = cls(document.made)
        ledger.done = Runs(document.done)
        ledger.seen = document.seen
        for page in document.holds:
            hold = Hold(page.consumer, page.since_ms, page.attempts)
            for first, last in page.runs:
                ledger.holds.update(dict.fromkeys(range(first, last + 1), hold))
        return ledger

    def encode(self) -> bytes:
        by_hold: dict[Hold, list[int]] = {}
        for number, hold in self.holds.items():
            by_hold.setdefault(hold, []).append(number)
        pages = [_Page(*hold, runs=_runs(numbers)) for hold, numbers in by_hold.items()]
        return _encoder.encode(
            _Document(made=self.made, done=list(self.done), holds=pages, seen=self.seen)
        )

    def note(
        self, fetched: Mapping[int, int], no_events: set[int], mine: Hold, now_ms: int
    ) -> Noted:
        """Note messages just fetched, sequence -> how often the server has delivered it.

        New ones go to ``mine``, or are done if they are no events.
        """
        noted = Noted([], [])
        for number, deliveries in fetched.items():
            held = self.holds.get(number)
            if number in self.done:
                noted.done.append(number)
            elif number in no_events:
                self.holds.pop(number, None)
                self.done.add(number, number)
                noted.done.append(number)
            elif held == mine:
                # Noted before, but the answer was lost.
                noted.taken.append(number)
            elif held is None and deliveries > 1:
                self.holds[number] = Hold(NOBODY, now_ms, deliveries - 1)
            elif held is None:
                self.holds[number] = mine
                noted.taken.append(number)
        return noted

    def due(self, consumer: str, left: set[int], now_ms: int, claim_ms: int) -> int | None:
        """Return the event that is to be handed out again to ``consumer``, if there is one.

        ``left``: what the consumer of that name held when it last ended.
        """
        own = [n for n in left if n in self.holds and self.holds[n].consumer == consumer]
        if own:
            return min(own)
        return min(
            (
                number
                for number, hold in self.holds.items()
                if hold.consumer == NOBODY or hold.idle_ms(now_ms) >= claim_ms
            ),
            default=None,
        )

    def take(self, number: int, consumer: str, now_ms: int) -> Hold:
        """Hand one event to ``consumer`` once more."""
        hold = Hold(consumer, now_ms, self.holds[number].attempts + 1)
        self.holds[number] = hold
        return hold

    def finish(self, numbers: Iterable[int]) -> list[int]:
        """Note as done those that are held; return them."""
        finished = [n for n in numbers if self.holds.pop(n, None) is not None]
        for number in finished:
            self.done.add(number, number)
        return finished

    def hold(self, held: Mapping[int, Hold], since_ms: int) -> list[int]:
        """Set since when these are held, where they still are as given; return which."""
        still = [n for n, h in held.items() if (now := self.holds.get(n)) and _is_same(now, h)]
        for number in still:
            self.holds[number] = self.holds[number]._replace(since_ms=since_ms)
        return still

    def forget(self, names: Iterable[str]) -> list[str]:
        """Take the names of consumers that hold nothing out; return those that were in."""
        holders = {hold.consumer for hold in self.holds.values()}
        return [n for n in names if n not in holders and self.seen.pop(n, None) is not None]


def _is_same(now: Hold, then: Hold) -> bool:
    return (now.consumer, now.attempts) == (then.consumer, then.attempts)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    numbers.sort()
    groups = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    runs = ([number for _, number in group] for _, group in groups)
    return [(run[0], run[-1]) for run in runs]
