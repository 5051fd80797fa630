"""Document frequencies: in how many products a feature occurs. All that a TF-IDF model learns.

Features are counted in a fixed number of buckets by their hash, so the size does not grow with the
vocabulary. A feature counts once for each distinct word of a product that has it, which saves
remembering the features of each product and measures the same. Counts are sums: they do not depend
on the order of the products, and counts of parts of a catalog add up to the counts of the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recsys_cli.domain import Product
from recsys_cli.embedding.features import Hashes, features
from recsys_cli.embedding.text import texts_of
from recsys_cli.embedding.tokens import words

BUCKET_BITS = 18
BUCKETS = 2**BUCKET_BITS

_WORDS_AT_ONCE = 50_000


class Frequencies(NamedTuple):
    """``products`` seen, and how often a feature of each of the ``BUCKETS`` buckets was counted."""

    products: int
    counts: npt.NDArray[np.uint32]
    keep_marks: bool = False


def count(products: Iterable[Product], *, keep_marks: bool = False) -> Frequencies:
    """Count the features of the products, in one pass and bounded memory."""
    total = 0
    counts = np.zeros(BUCKETS)
    occurrences: Counter[str] = Counter()
    for product in products:
        total += 1
        occurrences.update(set().union(*map(words, texts_of(product))))
        if len(occurrences) >= _WORDS_AT_ONCE:
            counts += _by_bucket(occurrences, keep_marks=keep_marks)
            occurrences.clear()
    if occurrences:
        counts += _by_bucket(occurrences, keep_marks=keep_marks)
    return Frequencies(total, _whole(counts), keep_marks)


def merge(parts: Sequence[Frequencies]) -> Frequencies:
    """Return what counting all the parts of a catalog at once would have. Any order, any nesting.

    Raises ValueError for no parts, and where some keep marks and others do not.
    """
    (keep_marks,) = {part.keep_marks for part in parts}
    counts = np.zeros(BUCKETS)
    for part in parts:
        counts += part.counts
    return Frequencies(sum(part.products for part in parts), _whole(counts), keep_marks)


def idf(frequencies: Frequencies) -> npt.NDArray[np.float64]:
    """Return each bucket's inverse document frequency, ln((1 + n) / (1 + df)) + 1.

    Rounded to 1/1024, so that the last bit of a platform's logarithm makes no difference.
    """
    frequency = np.minimum(frequencies.counts, frequencies.products)
    ratio = (1.0 + frequencies.products) / (1.0 + frequency)
    weights: npt.NDArray[np.float64] = np.rint(np.log(ratio) * 1024) / 1024 + 1
    return weights


def bucket(hashes: Hashes) -> npt.NDArray[np.int64]:
    return (hashes >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)


def _whole(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.uint32]:
    return np.minimum(counts, np.iinfo(np.uint32).max).astype(np.uint32)


def _by_bucket(occurrences: Counter[str], *, keep_marks: bool) -> npt.NDArray[np.float64]:
    sizes, hashes = features(list(occurrences), keep_marks=keep_marks)
    weights = np.repeat(np.fromiter(occurrences.values(), np.float64), sizes)
    return np.bincount(bucket(hashes), weights, BUCKETS).astype(np.float64, copy=False)
