"""Generations: one model version's vectors each, under one index name.

One serves: every query is answered by it alone. The next is built beside it, and consumers write
live events to both; then it serves, and the earlier one is kept, as it was, for a rollback.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from recsys_cli.domain import IndexSpec

FIRST = 1


class GenerationState(StrEnum):
    """``returning``: a kept one that is brought up to date, to serve again."""

    BUILDING = "building"
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
        """Whether consumers write to it. A kept one stays as it was."""
        return self.state is not GenerationState.KEPT


def serving(generations: Sequence[Generation]) -> Generation:
    """Return the one that answers queries."""
    (found,) = (g for g in generations if g.state is GenerationState.SERVING)
    return found
