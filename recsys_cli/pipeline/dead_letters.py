"""Dead letters: find, group by cause, replay, purge; always a page at a time, item by item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from recsys_cli.batches import batched
from recsys_cli.deliveries import DeadLetter
from recsys_cli.errors import DeadLetterNotFound, UsageError
from recsys_cli.ports import DeadLetters

PAGE = 500


@dataclass(frozen=True)
class LetterChoice:
    """Which letters: these ids, those of a cause, or all; at most ``limit``, oldest first."""

    ids: Sequence[str] = ()
    cause: str | None = None
    every: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if bool(self.ids) + bool(self.cause) + self.every != 1:
            raise UsageError(
                "say which dead letters: their ids, or --cause, or --all",
                hint="recsys dlq list shows ids and causes",
            )


class CauseSummary(msgspec.Struct, kw_only=True):
    """The letters of one cause. ``error`` and ``latest_id`` are of the newest one."""

    cause: str
    letters: int = 0
    first_failed_at: str
    last_failed_at: str
    error: str
    latest_id: str


@dataclass
class ReplayReport:
    """``gone``: replayed or purged by somebody else meanwhile."""

    replayed: int = 0
    gone: int = 0
    not_whole: int = 0
    again: int = 0


def newest(letters: DeadLetters, count: int, cause: str | None = None) -> list[DeadLetter]:
    """Return the newest ``count`` letters, of ``cause`` where it is given, the newest first."""
    found = letters.letters(newest_first=True)
    return list(islice((each for each in found if cause in (None, each.cause)), count))


def show(letters: DeadLetters, letter_id: str) -> DeadLetter:
    """Return the letter of this id. Raises DeadLetterNotFound."""
    letter = letters.find(letter_id)
    if letter is None:
        raise DeadLetterNotFound(
            f"there is no dead letter {letter_id!r}", hint="recsys dlq list shows their ids"
        )
    return letter


def summarize(letters: DeadLetters) -> list[CauseSummary]:
    """Return one summary per cause, the largest first."""
    causes: dict[str, CauseSummary] = {}
    for letter in letters.letters():
        summary = causes.setdefault(
            letter.cause,
            CauseSummary(
                cause=letter.cause,
                first_failed_at=letter.first_failed_at,
                last_failed_at=letter.last_failed_at,
                error=letter.error,
                latest_id=letter.id,
            ),
        )
        summary.letters += 1
        summary.first_failed_at = min(summary.first_failed_at, letter.first_failed_at)
        summary.last_failed_at = max(summary.last_failed_at, letter.last_failed_at)
        summary.error, summary.latest_id = letter.error, letter.id
    return sorted(causes.values(), key=lambda summary: (-summary.letters, summary.cause))


def replay(
    letters: DeadLetters,
    choice: LetterChoice,
    *,
    dry_run: bool = False,
    on_progress: Callable[[ReplayReport], None] = lambda _: None,
) -> ReplayReport:
    """Put the chosen events back on the stream, one by one: interrupted, the rest stays.

    ``dry_run`` counts only. Raises DeadLetterNotFound for an id that is none.
    """
    report = ReplayReport()
    for letter in _chosen(letters, choice):
        if not letter.is_whole:
            report.not_whole += 1
        elif dry_run or letters.replay(letter):
            report.replayed += 1
            report.again += letter.replays > 0
        else:
            report.gone += 1
        on_progress(report)
    return report


def purge(letters: DeadLetters, choice: LetterChoice) -> int:
    """Drop the chosen letters for good; return how many there were."""
    chosen = (letter.id for letter in _chosen(letters, choice))
    purged = 0
    for page in batched(chosen, PAGE):
        purged += letters.purge(page)
    return purged


def _chosen(letters: DeadLetters, choice: LetterChoice) -> Iterator[DeadLetter]:
    if choice.ids:
        # All of them before the first is touched: a typing error shall change nothing.
        found: Iterator[DeadLetter] = iter([show(letters, each) for each in choice.ids])
    else:
        found = (each for each in letters.letters() if choice.cause in (None, each.cause))
    return islice(found, choice.limit)
