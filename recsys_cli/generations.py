"""Generations: one model version's vectors each, under one index name.

One serves: every query is answered by it alone. The next is built beside it, and consumers write
live events to both; then it serves, and the earlier one is kept, as it was, for a rollback.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from recsys_cli.domain import IndexSpec, utc_now
from recsys_cli.errors import LockHeld

FIRST = 1


class GenerationState(StrEnum):
    """``returning``: a kept one that is brought up to date, to serve again.

    ``unfinished``: the run that was building it is over, and may be taken up by another.
    """

    BUILDING = "building"
    UNFINISHED = "unfinished"
    SERVING = "serving"
    KEPT = "kept"
    RETURNING = "returning"


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """``model_version`` is empty where nothing but the model in use can have made the vectors.

    ``since``: when it came into this state, ISO 8601 in UTC; empty where nobody noted it.
    """

    number: int = FIRST
    state: GenerationState = GenerationState.SERVING
    model_version: str = ""
    spec: IndexSpec = msgspec.field(default_factory=IndexSpec)
    since: str = ""

    @property
    def is_followed(self) -> bool:
        """Whether consumers write to it. The others stay as they are."""
        return self.state not in (GenerationState.KEPT, GenerationState.UNFINISHED)


_LEFT = {
    GenerationState.BUILDING: GenerationState.UNFINISHED,
    GenerationState.RETURNING: GenerationState.KEPT,
}


def as_left(generations: Sequence[Generation]) -> list[Generation]:
    """Return them as they are while no run holds the lock: nobody need write to what it left.

    The next run compares everything with the catalog, and consumers write to it from then on.
    """
    return [msgspec.structs.replace(g, state=_LEFT.get(g.state, g.state)) for g in generations]


def swapped(generations: Sequence[Generation], number: int) -> list[Generation]:
    """Return the one that served, now kept, and this one, which serves from now on.

    Only this one, as it is, where it serves already.
    """
    before = serving(generations)
    (after,) = (g for g in generations if g.number == number)
    if before.number == number:
        return [before]
    states = ((before, GenerationState.KEPT), (after, GenerationState.SERVING))
    now = utc_now()
    return [msgspec.structs.replace(g, state=state, since=now) for g, state in states]


def lock_held(holder: str, left_ms: int) -> LockHeld:
    """Return the error for who comes second."""
    return LockHeld(
        f"another run holds the lock: {holder}",
        hint=f"wait until it has ended; if it was killed, it lets go in {left_ms / 1000:.0f} s",
    )


def lock_lost() -> LockHeld:
    """Return the error for who held the lock and no longer does."""
    return LockHeld(
        "the lock was lost: it expired in an outage, or another run took it",
        hint="run the same command again: it goes on where it was",
    )


def serving(generations: Sequence[Generation]) -> Generation:
    """Return the one that answers queries."""
    (found,) = (g for g in generations if g.state is GenerationState.SERVING)
    return found
