"""Why two products are close: the cosine, taken apart word by word.

An embedding is a sum of features, so a cosine is a sum over pairs of features, one of each product,
that lie in the same coordinate. Where both are the same feature, what the pair adds belongs to the
two words that have it. Where they are not, two features merely met in a coordinate: that is what
folding costs, and it is shown as ``collisions``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recsys_cli.domain import SharedWord
from recsys_cli.embedding.features import Hashes, Integers

SMALLEST = 0.005
"""What a pair of different words adds at least, to be named; less is summed up as ``pieces``."""

Values = npt.NDArray[np.float64]


class UsedWord(NamedTuple):
    """A word of a product, with the factor that it has in the embedding and where it stands."""

    factor: float
    fields: list[str]


class Side(NamedTuple):
    """A product's features: the hash of each, its share in the unit vector, and whose it is."""

    words: Mapping[str, UsedWord]
    hashes: Hashes
    values: Values
    owners: Integers


def shared(one: Side, other: Side) -> tuple[list[SharedWord], float]:
    """Return what the pairs of words add to the cosine, most first, and the sum of the small ones.

    A word that both have is always named.
    """
    named: list[SharedWord] = []
    pieces = 0.0
    for word, other_word, share in _pairs(one, other):
        if word == other_word or abs(share) >= SMALLEST:
            named.append(
                SharedWord(
                    word=word,
                    other_word=other_word,
                    share=share,
                    fields=one.words[word].fields,
                    other_fields=other.words[other_word].fields,
                )
            )
        else:
            pieces += share
    return sorted(named, key=lambda pair: (-pair.share, pair.word, pair.other_word)), pieces


def fields_by_word(words_of_fields: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the fields in which each word stands."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, words in words_of_fields.items():
        for word in words:
            found[word].append(name)
    return found


def _pairs(one: Side, other: Side) -> Iterator[tuple[str, str, float]]:
    """Yield each pair of words that share a feature, with what all their features add."""
    order = np.argsort(other.hashes, kind="stable")
    sorted_hashes = other.hashes[order]
    first = np.searchsorted(sorted_hashes, one.hashes, "left")
    counts = np.searchsorted(sorted_hashes, one.hashes, "right") - first
    mine = np.repeat(np.arange(len(one.hashes)), counts)
    within = np.arange(len(mine)) - np.repeat(np.cumsum(counts) - counts, counts)
    theirs = order[np.repeat(first, counts) + within]
    keys = one.owners[mine] * len(other.words) + other.owners[theirs]
    pairs, pair_at = np.unique(keys, return_inverse=True)
    shares = np.bincount(pair_at, one.values[mine] * other.values[theirs], len(pairs))
    words, other_words = list(one.words), list(other.words)
    for pair, share in zip(pairs.tolist(), shares.tolist(), strict=True):
        left, right = divmod(pair, len(other_words))
        yield words[left], other_words[right], share
