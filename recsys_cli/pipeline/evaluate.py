"""How often are the true matches among the neighbors? Of the live index, or of a model.

The truth is pairs of products, or a field: products with the same value match. The live index is
asked as ``recsys similar`` asks it. A model embeds the whole catalog and is searched exactly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from recsys_cli.batches import batched
from recsys_cli.domain import Pair, Product
from recsys_cli.errors import NotEmbedded, UsageError
from recsys_cli.pipeline import metrics
from recsys_cli.ports import Catalog, EmbeddingModel, Matrix, VectorStore

CHUNK = 500

_QUERIES_AT_ONCE = 64
"""Each against all products: at 100 000 of them, 26 MB of cosines."""

Answers = Iterator[tuple[str, list[str]]]
"""Each queried id, and its neighbors, the closest first."""


class Truth(Protocol):
    """Which products match which."""

    def queries(self) -> list[str]:
        """Return the ids of the products that have a match, in order."""
        ...

    def matches(self, query: str) -> int:
        """Return how many matches a query has."""
        ...

    def judge(self, query: str, found: Sequence[str]) -> list[bool]:
        """Return whether each of the found ids is a match."""
        ...


class Pairs:
    """Pairs match in both directions."""

    def __init__(self, pairs: Iterable[Pair], catalog: Catalog) -> None:
        """Take the pairs; a first line with no product of the catalog is a header."""
        self._matches: dict[str, set[str]] = defaultdict(set)
        for pair in pairs:
            if pair.line == 1 and not catalog.get([pair.one, pair.other]):
                continue
            if pair.one != pair.other:
                self._matches[pair.one].add(pair.other)
                self._matches[pair.other].add(pair.one)

    def queries(self) -> list[str]:
        return sorted(self._matches)

    def matches(self, query: str) -> int:
        return len(self._matches[query])

    def judge(self, query: str, found: Sequence[str]) -> list[bool]:
        return [product_id in self._matches[query] for product_id in found]


class SameValue:
    """Products with the same, non-empty value of a field match."""

    def __init__(self, field: str, catalog: Catalog) -> None:
        found = ((p.id, p.to_fields().get(field)) for p in catalog.products())
        self._values = {product_id: value for product_id, value in found if value is not None}
        self._sizes = Counter(self._values.values())

    def queries(self) -> list[str]:
        return sorted(i for i, value in self._values.items() if self._sizes[value] > 1)

    def matches(self, query: str) -> int:
        return self._sizes[self._values[query]] - 1

    def judge(self, query: str, found: Sequence[str]) -> list[bool]:
        wanted = self._values[query]
        return [self._values.get(product_id) == wanted for product_id in found]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """``values`` by metric. ``missing``: queries without an embedding; they count as misses."""

    name: str
    values: dict[str, float]
    queries: int
    missing: int
    products: int
    zero_vectors: int


class Ranked(Protocol):
    """Something that answers queries."""

    name: str
    products: int
    """How many can be found."""
    zero_vectors: int

    def answers(self, queries: Sequence[str], k: int) -> Answers:
        """Yield the k neighbors of each query that has an embedding."""
        ...


class LiveIndex:
    """The index, asked as ``recsys similar`` asks it."""

    name = "live index"

    def __init__(self, catalog: Catalog, vectors: VectorStore, model: EmbeddingModel) -> None:
        self._vectors = vectors
        info = vectors.info()
        self.products = info.documents if info else 0
        self.zero_vectors = 0
        for chunk in batched(catalog.products(), CHUNK):
            stored = vectors.stored([product.id for product in chunk])
            absent = [product for product in chunk if product.id not in stored]
            self.zero_vectors += int((~model.embed(absent).any(axis=1)).sum())

    def answers(self, queries: Sequence[str], k: int) -> Answers:
        for chunk in batched(queries, CHUNK):
            stored = self._vectors.get(chunk)
            for query in chunk:
                if query in stored:
                    found = self._vectors.search(stored[query], k + 1)
                    yield query, [n.product_id for n in found if n.product_id != query][:k]


class Embedded:
    """The whole catalog, embedded by a model and searched exactly; without ``left_out``."""

    def __init__(
        self, name: str, catalog: Catalog, model: EmbeddingModel, left_out: str | None = None
    ) -> None:
        self.name = name
        ids: list[str] = []
        blocks: list[Matrix] = [np.zeros((0, model.dimension), np.float32)]
        for chunk in batched(catalog.products(), CHUNK):
            rows = model.embed([_without(product, left_out) for product in chunk])
            ids += [product.id for product in chunk]
            blocks.append(rows)
        rows = np.concatenate(blocks)
        embedded = np.flatnonzero(rows.any(axis=1))
        self._rows = rows[embedded]
        self._ids = [ids[row] for row in embedded.tolist()]
        self._at = {product_id: row for row, product_id in enumerate(self._ids)}
        self.products = len(self._ids)
        self.zero_vectors = len(ids) - self.products

    def answers(self, queries: Sequence[str], k: int) -> Answers:
        embedded = [query for query in queries if query in self._at]
        for chunk in batched(embedded, _QUERIES_AT_ONCE):
            places = [self._at[query] for query in chunk]
            cosines = self._rows[places] @ self._rows.T
            cosines[np.arange(len(places)), places] = -np.inf
            count = min(k, self.products - 1)
            nearest = np.argpartition(-cosines, max(count - 1, 0), axis=1)[:, :count]
            for query, row, found in zip(chunk, cosines, nearest, strict=True):
                ranked = sorted(found.tolist(), key=lambda at: (-row[at], self._ids[at]))
                yield query, [self._ids[at] for at in ranked]


@dataclass(frozen=True)
class Sample:
    """How many neighbors count, and how many queries are drawn: None takes all."""

    k: int = 10
    queries: int | None = None


def evaluate(
    ranked: Ranked, truth: Truth, sample: Sample, progress: Callable[[int, int], None]
) -> Evaluation:
    """Answer the queries and judge the answers. Raises an error where nothing can be asked."""
    k = sample.k
    queries = _drawn(truth.queries(), sample.queries)
    if ranked.products < 2:
        raise NotEmbedded(
            f"nothing to evaluate: of the catalog, {ranked.products} products are embedded",
            hint="recsys consume --drain",
        )
    if not queries:
        raise UsageError("nothing to evaluate: no product has a match")
    sums: Counter[str] = Counter()
    found: set[str] = set()
    answered = 0
    for query, neighbors in ranked.answers(queries, k):
        sums.update(_judged(truth.judge(query, neighbors), truth.matches(query), k))
        found.update(neighbors)
        answered += 1
        progress(answered, len(queries))
    values = {name: sums[name] / len(queries) for name in metric_names(k)[:-1]}
    return Evaluation(
        name=ranked.name,
        values=values | {f"coverage@{k}": len(found) / ranked.products},
        queries=len(queries),
        missing=len(queries) - answered,
        products=ranked.products,
        zero_vectors=ranked.zero_vectors,
    )


def metric_names(k: int) -> list[str]:
    """Return the metrics that ``evaluate`` gives, the share of products ever shown last."""
    names = ["recall@1", f"recall@{k}", f"mrr@{k}", f"ndcg@{k}", f"precision@{k}", f"coverage@{k}"]
    return list(dict.fromkeys(names))


def crossed(evaluation: Evaluation, floors: Mapping[str, float]) -> list[str]:
    """Return a sentence for each metric that is below its floor."""
    return [
        f"{evaluation.name}: {name} is {evaluation.values[name]:.4f}, below {floor:g}"
        for name, floor in floors.items()
        if evaluation.values[name] < floor
    ]


def save_evaluations(found: Sequence[Evaluation], path: Path) -> None:
    """Write the figures, to be shown beside later ones."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def read_saved(path: Path) -> list[Evaluation]:
    """Read what ``save_evaluations`` wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Evaluation])
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} holds no saved figures: {error}") from error


def _drawn(queries: list[str], count: int | None) -> list[str]:
    """Return so many of them, evenly spread."""
    if count is None or count >= len(queries):
        return queries
    return [queries[n * len(queries) // count] for n in range(count)]


def _judged(hits: list[bool], relevant: int, k: int) -> dict[str, float]:
    return {
        "recall@1": metrics.recall(hits, relevant, 1),
        f"recall@{k}": metrics.recall(hits, relevant, k),
        f"mrr@{k}": metrics.reciprocal_rank(hits, k),
        f"ndcg@{k}": metrics.ndcg(hits, relevant, k),
        f"precision@{k}": metrics.precision(hits, k),
    }


def _without(product: Product, field: str | None) -> Product:
    if field is None:
        return product
    fields = {name: value for name, value in product.to_fields().items() if name != field}
    return Product.from_fields(product.id, fields)
