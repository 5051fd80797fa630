"""Which product ids were seen, in 8 bytes each instead of a hundred."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

_Hashes = npt.NDArray[np.uint64]


class SeenIds:
    """A set of ids kept as sorted runs of 64-bit hashes, merged like the digits of a counter.

    Two of a million ids share a hash with a probability of 3e-8; they would then count as one.
    """

    def __init__(self) -> None:
        self._runs: list[_Hashes] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, product_ids: Sequence[str]) -> list[bool]:
        """Add the ids; return for each whether it was there before, or earlier in this call."""
        hashes = _hashes(product_ids)
        seen = self._contains(hashes)
        unique, first = np.unique(hashes, return_index=True)
        repeated = np.ones(len(hashes), dtype=bool)
        repeated[first] = False
        self._push(unique[~self._contains(unique)])
        return [bool(flag) for flag in seen | repeated]

    def contains(self, product_ids: Sequence[str]) -> list[bool]:
        """Return for each id whether it was added."""
        return [bool(flag) for flag in self._contains(_hashes(product_ids))]

    def _contains(self, hashes: _Hashes) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            found |= run[at] == hashes
        return found

    def _push(self, run: _Hashes) -> None:
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.union1d(self._runs.pop(), run)
        self._runs.append(run)


def _hashes(product_ids: Sequence[str]) -> _Hashes:
    digests = b"".join(blake2b(i.encode(), digest_size=8).digest() for i in product_ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
