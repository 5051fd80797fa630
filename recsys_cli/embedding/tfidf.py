"""TF-IDF over words and pieces of words, folded into a few hundred dimensions by signed hashing.

A feature (``features.py``) is a direction: one coordinate, plus or minus, chosen by its hash. A
word is the sum of its features, each as long as its inverse document frequency; a text is the sum
of its words; a product is the weighted sum of its texts. Similar products share features, and
unrelated features that meet in a coordinate cancel on average, so cosines stay near those of the
unfolded vectors (count sketch: Charikar, Chen & Farach-Colton 2002; feature hashing: Weinberger et
al. 2009, arXiv:0902.2206). Folding by SVD instead keeps topics and loses model numbers.

Nothing is out of vocabulary: a new word has pieces, and its coordinates follow from its letters.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt

from recsys_cli.domain import Explanation, ModelInfo, Product
from recsys_cli.embedding import artifact, frequencies
from recsys_cli.embedding.artifact import Artifact
from recsys_cli.embedding.explain import Side, UsedWord, fields_by_word, shared
from recsys_cli.embedding.features import features, whole_words
from recsys_cli.embedding.frequencies import BUCKETS, Frequencies
from recsys_cli.embedding.text import WEIGHTS, Texts, digest, fields_of, texts_of
from recsys_cli.embedding.tokens import words
from recsys_cli.errors import InvalidModel
from recsys_cli.ports import Matrix

KIND = "tfidf"
RECIPE = 1
"""Goes up whenever the same frequencies give other vectors: new words, weights, or hashes."""

MAX_DIMENSION = 65_536

_PRODUCTS_AT_ONCE = 256
_CHARACTERS_AT_ONCE = 200_000
_CACHE_BYTES = 32_000_000
_OVERHEAD_BYTES = 200
"""Of a word in the cache, beside its entries: the string, the bytes object, the dict's slots."""

_FEWEST_FREE = 0.02
"""Of the buckets; with fewer, unknown words cannot be told."""

_ENTRY = np.dtype([("coordinate", "<u4"), ("value", "<f4")])
_WEIGHTS = np.array(WEIGHTS)[:, np.newaxis]


class TfidfModel:
    """Embeds products by the frequencies it was fitted with. Any number of threads may use it.

    A product's row is the same to the bit, whatever else is embedded with it.
    """

    def __init__(self, counted: Frequencies, dimension: int = 384) -> None:
        self._artifact = _pack(counted, dimension)
        self._counted = counted
        self._idf = frequencies.idf(counted)
        self._dimension = dimension
        self._version = artifact.digest(self._artifact)[:12]
        self._entries: dict[str, bytes] = {}
        self._entries_bytes = 0
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        return self._version

    @property
    def dimension(self) -> int:
        return self._dimension

    def text_digest(self, product: Product) -> str:
        return digest(texts_of(product))

    def to_bytes(self) -> bytes:
        return self._artifact

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            kind=KIND,
            version=self.version,
            dimension=self.dimension,
            products=self._counted.products,
            size_bytes=len(self._artifact),
            options=["keeps marks"] if self._counted.keep_marks else [],
        )

    def embed(self, products: Sequence[Product]) -> Matrix:
        """Return one row per product: float32, shape (n, dimension), of unit length or zero."""
        rows = [self._embed(slice_) for slice_ in _slices(map(texts_of, products))]
        return np.concatenate([np.zeros((0, self._dimension), np.float32), *rows])

    def explain(self, one: Product, other: Product) -> Explanation:
        """Return what the words of the products add to the cosine of their embeddings."""
        left, right = self.embed([one, other])
        score = float(left @ right)
        words_, pieces = shared(self._side(one), self._side(other))
        named = sum(word.share for word in words_)
        return Explanation(
            score=score, words=words_, pieces=pieces, collisions=score - named - pieces
        )

    def unknown_words(self, products: Sequence[Product]) -> tuple[float, int]:
        """Return an estimate of how many words it was not fitted on, and how many there are.

        A new word is told by its empty bucket. Some fall into one that other features have filled:
        as many as the share of filled buckets, by which what is seen is made up for.
        """
        found = [word for p in products for word in set().union(*map(words, texts_of(p)))]
        if not found:
            return 0.0, 0
        counts = self._counted.counts
        empty = int((counts[frequencies.bucket(whole_words(found))] == 0).sum())
        free = max(float((counts == 0).mean()), _FEWEST_FREE)
        return min(empty / free, float(len(found))), len(found)

    def _side(self, product: Product) -> Side:
        """Return the product's features, each with its share in the product's unit vector."""
        texts = texts_of(product)
        found = [words(text) for text in texts]
        sums = np.zeros((len(WEIGHTS), self._dimension))
        sums[list(map(bool, found))] = self._sums(found)
        lengths = _lengths(sums)
        total = _lengths((sums / lengths * _WEIGHTS).sum(axis=0, keepdims=True))
        factors = (_WEIGHTS / lengths / total)[:, 0]
        used: dict[str, UsedWord] = {}
        for of_text, fields, factor in zip(found, fields_of(product), factors, strict=True):
            standing = fields_by_word({name: words(value) for name, value in fields.items()})
            for word in of_text:
                earlier = used.get(word, UsedWord(0.0, []))
                used[word] = UsedWord(earlier.factor + factor, earlier.fields + standing[word])
        sizes, hashes = features(list(used), keep_marks=self._counted.keep_marks)
        values = np.frombuffer(b"".join(self._entries_of(list(used))), _ENTRY)["value"]
        owners = np.repeat(np.arange(len(used)), sizes)
        weights = np.array([word.factor for word in used.values()])
        return Side(used, hashes, values * weights[owners], owners)

    def _embed(self, texts: list[Texts]) -> Matrix:
        # Kind by kind: all names, then all descriptions, ...
        found = [words(text) for kind in zip(*texts, strict=True) for text in kind]
        sums = self._sums(found)
        sums /= _lengths(sums)
        rows = np.zeros((len(texts), self._dimension))
        has_words = np.fromiter(map(bool, found), bool).reshape(len(WEIGHTS), -1)
        ends = np.cumsum(has_words.sum(axis=1))
        for weight, owners, part in zip(WEIGHTS, has_words, np.split(sums, ends[:-1]), strict=True):
            rows[owners] += part if weight == 1 else part * weight
        unit: Matrix = (rows / _lengths(rows)).astype(np.float32)
        return unit

    def _sums(self, found: Sequence[Sequence[str]]) -> npt.NDArray[np.float64]:
        """Return the sum of the words of each text that has any: shape (n, dimension)."""
        used = [of_text for of_text in found if of_text]
        entries = self._entries_of([word for of_text in used for word in of_text])
        features_ = np.frombuffer(b"".join(entries), _ENTRY)
        sizes = np.fromiter(map(len, entries), np.int64, len(entries)) // _ENTRY.itemsize
        first_of_word = np.repeat(
            np.arange(len(used)) * self._dimension, [len(of_text) for of_text in used]
        )
        place = np.repeat(first_of_word, sizes)
        place += features_["coordinate"]
        # bincount adds in the order given, whatever the batch: hence the same bits.
        sums: npt.NDArray[np.float64] = np.bincount(
            place, features_["value"], len(used) * self._dimension
        ).astype(np.float64, copy=False)
        return sums.reshape(len(used), self._dimension)

    def _entries_of(self, wanted: list[str]) -> list[bytes]:
        """Return the coordinates and values of each word, computing those not seen lately."""
        entries = self._entries
        found = list(map(entries.get, wanted))
        if None in found:
            missing = dict.fromkeys(w for w, e in zip(wanted, found, strict=True) if e is None)
            computed = dict(zip(missing, self._compute(list(missing)), strict=True))
            found = [entry or computed[w] for w, entry in zip(wanted, found, strict=True)]
            self._remember(computed)
        return cast(list[bytes], found)

    def _remember(self, computed: dict[str, bytes]) -> None:
        with self._lock:
            if self._entries_bytes > _CACHE_BYTES:
                self._entries.clear()
                self._entries_bytes = 0
            self._entries.update(computed)
            self._entries_bytes += sum(map(len, computed.values())) + _OVERHEAD_BYTES * len(
                computed
            )

    def _compute(self, unknown: list[str]) -> list[bytes]:
        sizes, hashes = features(unknown, keep_marks=self._counted.keep_marks)
        signs = 1.0 - 2.0 * (hashes & np.uint64(1)).astype(np.float64)
        # Longer words have more to say, though not in proportion to their pieces.
        damping = 1 / np.sqrt(np.sqrt(np.repeat(sizes, sizes)))
        entries = np.empty(len(hashes), _ENTRY)
        entries["coordinate"] = (
            (hashes >> np.uint64(1)) % np.uint64(2**32) % np.uint64(self._dimension)
        )
        entries["value"] = signs * self._idf[frequencies.bucket(hashes)] * damping
        raw = entries.tobytes()
        ends = np.cumsum(sizes) * _ENTRY.itemsize
        return [raw[start:end] for start, end in pairwise([0, *ends.tolist()])]


class TfidfFactory:
    """Fits and opens models of one dimension.

    ``keep_marks`` is for models yet to be fitted: whether ``điện`` and ``dien`` are different words
    through and through. An opened model keeps to what it was fitted with.
    """

    def __init__(self, dimension: int = 384, *, keep_marks: bool = False) -> None:
        self._dimension = dimension
        self._keep_marks = keep_marks

    @property
    def dimension(self) -> int:
        return self._dimension

    def fit(self, products: Iterable[Product]) -> TfidfModel:
        """Fit a model on the products, in one pass; on none at all, every feature weighs alike."""
        counted = frequencies.count(products, keep_marks=self._keep_marks)
        return TfidfModel(counted, self._dimension)

    def merge(self, artifacts: Sequence[bytes]) -> TfidfModel:
        """Return the model that fitting on all parts at once would have given, to the byte."""
        parts = [self._open(part) for part in artifacts]
        if len({part.keep_marks for part in parts}) != 1:
            raise InvalidModel(
                "models cannot be merged where some keep the marks on letters and others do not",
                hint="fit all parts with the same EMBEDDING_KEEP_MARKS",
            )
        return TfidfModel(frequencies.merge(parts), self._dimension)

    def load(self, artifact_: bytes) -> TfidfModel:
        """Open an artifact. Raises InvalidModel for damage, and for a model of another kind."""
        return TfidfModel(self._open(artifact_), self._dimension)

    def _open(self, raw: bytes) -> Frequencies:
        counted, dimension = _unpack(artifact.unpack(raw))
        if dimension != self._dimension:
            raise InvalidModel(
                f"the embedding model has {dimension} dimensions, not {self._dimension}",
                hint=f"set VECTOR_DIMENSION={dimension}, or fit a new model: recsys reembed",
            )
        return counted


def _pack(counted: Frequencies, dimension: int) -> bytes:
    occupied = counted.counts > 0
    parameters = {"recipe": RECIPE, "dimension": dimension, "products": counted.products}
    if counted.keep_marks:
        parameters["keep_marks"] = 1
    return artifact.pack(
        KIND,
        parameters,
        {"occupied": np.packbits(occupied), "counts": counted.counts[occupied]},
    )


def _unpack(opened: Artifact) -> tuple[Frequencies, int]:
    artifact.check_kind(opened, KIND, RECIPE)
    occupied, counted = opened.arrays.get("occupied"), opened.arrays.get("counts")
    products, dimension = (opened.parameters.get(name, -1) for name in ("products", "dimension"))
    if (
        occupied is None
        or counted is None
        or occupied.dtype != np.uint8
        or counted.dtype != np.uint32
        or len(occupied) * 8 != BUCKETS
        or np.bitwise_count(occupied).sum() != len(counted)
        or not 0 <= products < 2**32
        or not 0 < dimension <= MAX_DIMENSION
    ):
        raise artifact.invalid("its parts do not fit together")
    counts = np.zeros(BUCKETS, np.uint32)
    counts[np.unpackbits(occupied).view(bool)] = counted
    return Frequencies(products, counts, bool(opened.parameters.get("keep_marks"))), dimension


def _slices(texts: Iterable[Texts]) -> Iterator[list[Texts]]:
    """Cut into pieces whose intermediate arrays stay small, also for products with long texts."""
    slice_: list[Texts] = []
    characters = 0
    for four in texts:
        slice_.append(four)
        characters += sum(map(len, four))
        if len(slice_) == _PRODUCTS_AT_ONCE or characters > _CHARACTERS_AT_ONCE:
            yield slice_
            slice_, characters = [], 0
    if slice_:
        yield slice_


def _lengths(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the length of each row, to divide it by: shape (..., 1), and 1 for zero rows."""
    lengths: npt.NDArray[np.float64] = np.sqrt(np.einsum("...j,...j->...", rows, rows))
    return np.where(lengths == 0, 1, lengths)[..., np.newaxis]
