"""Cut a stream of things into lists, to ask a backend once for many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Thing = TypeVar("Thing")


def batched(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """Yield lists of ``size`` things, the last one shorter; takes no more than it has yielded.

    From Python 3.12 on, itertools has it.
    """
    iterator = iter(things)
    while batch := list(islice(iterator, size)):
        yield batch
