"""The features of words, as 64-bit hashes, computed for many words at once.

A word's features are its pieces of two to four characters, its edges included, and the word itself.
`` kettle `` gives `` k``, ``ke``, ... ``tle ``, and ``kettle``. Words that share pieces share
features: plurals, compounds, misspellings, model numbers, and words that were never seen before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys_cli.embedding.tokens import MAX_WORD, without_marks

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

PIECE_LENGTHS = (2, 3, 4)

_LONGEST = 4 * MAX_WORD
"""Characters; taking marks off a word can lengthen it, though never that much."""

# Powers of the golden-ratio multiplier of Knuth's multiplicative hashing, modulo 2**64.
_POWERS = np.array([pow(0x9E3779B97F4A7C15, k + 1, 2**64) for k in range(_LONGEST)], np.uint64)


def features(words: Sequence[str], *, keep_marks: bool = False) -> tuple[Integers, Hashes]:
    """Return the number of features of each word, and the hashes, word after word.

    What a word gives depends on nothing but the word: not on the other words, not on the platform.
    Pieces are taken without the marks on Latin letters, unless ``keep_marks``.
    """
    padded = [f" {word if keep_marks else without_marks(word)} " for word in words]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    characters = _characters(padded)
    room = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(characters))
    word_at = np.repeat(np.arange(len(words)), lengths)
    hashes, owners = [], []
    for length in PIECE_LENGTHS:
        starts = np.flatnonzero(room >= length)
        pieces = sum(characters[starts + k] * _POWERS[k] for k in range(length))
        hashes.append(_mixed(np.asarray(pieces, np.uint64), salt=length))
        owners.append(word_at[starts])
    hashes.append(whole_words(words))
    owners.append(np.arange(len(words)))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.bincount(owner, minlength=len(words)), np.concatenate(hashes)[order]


def whole_words(words: Sequence[str]) -> Hashes:
    """Return the hash of each word as a feature of its own."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    starts = np.cumsum(lengths) - lengths
    place = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    return _mixed(np.add.reduceat(_characters(words) * _POWERS[place], starts), salt=1)


def _characters(words: Sequence[str]) -> Hashes:
    return np.frombuffer("".join(words).encode("utf-32-le"), "<u4").astype(np.uint64)


def _mixed(hashes: Hashes, *, salt: int) -> Hashes:
    """Spread every bit over all others (the finalizer of SplitMix64, Steele et al. 2014)."""
    hashes = hashes + _POWERS[salt]
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
