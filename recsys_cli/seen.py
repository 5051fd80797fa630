"""Which product ids, or keys, were seen, in about 8 bytes each instead of a hundred.

Python's own hash of a string is 64 bits of SipHash under a key that each process draws anew: no
feed can be made to collide, and no library has to be loaded for it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

_SHELVES = 256
"""A power of two: so many that the part of one that makes room for a hash is soon moved."""

_LAST_BITS = _SHELVES - 1


class SeenIds:
    """A set of ids, kept as 64-bit hashes: sorted, on shelves chosen by their last bits.

    Two of a million ids share a hash with a probability of 3e-8; they would then count as one.
    """

    def __init__(self) -> None:
        self._shelves = [array("q") for _ in range(_SHELVES)]

    def __len__(self) -> int:
        return sum(map(len, self._shelves))

    def add(self, product_ids: Iterable[str | bytes]) -> list[bool]:
        """Add the ids; return for each whether it was there before, or earlier in this call."""
        shelves, seen = self._shelves, []
        for digest in map(hash, product_ids):
            shelf = shelves[digest & _LAST_BITS]
            place = bisect_left(shelf, digest)
            was_there = place < len(shelf) and shelf[place] == digest
            if not was_there:
                shelf.insert(place, digest)
            seen.append(was_there)
        return seen

    def contains(self, product_ids: Sequence[str]) -> list[bool]:
        """Return for each id whether it was added."""
        return [_holds(self._shelves[d & _LAST_BITS], d) for d in map(hash, product_ids)]


def _holds(shelf: Sequence[int], digest: int) -> bool:
    place = bisect_left(shelf, digest)
    return place < len(shelf) and shelf[place] == digest
