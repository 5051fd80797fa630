"""How often is the true match found? On every real catalogue with labels; one command:

    python -m tests.benchmarks.quality

Abt-Buy      recall@1, @10: each Abt product that has a match, against all Buy products
SIGMOD 2022  recall@1, @10: each offer against all others, out of min(k, number of duplicates)
IKEA         precision@10: neighbors of the same category, which is left out of the text

Standard errors: about 0.015 for recall on Abt-Buy, 0.007 for precision on IKEA.
"""

from __future__ import annotations

import csv
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import normalize

from recsys_cli.cleaning import clean_fields
from recsys_cli.domain import Product
from recsys_cli.embedding.text import texts_of
from recsys_cli.embedding.tfidf import TfidfFactory
from recsys_cli.ports import Matrix

DATA = Path(__file__).parents[3] / "shared" / "data"

Embed = Callable[[Sequence[Product]], Matrix]


class Scores(NamedTuple):
    """Of one way to embed; ``products_per_s`` counts fitting and embedding, on all three sets."""

    abt_buy_at_1: float
    abt_buy_at_10: float
    sigmod_at_1: float
    sigmod_at_10: float
    ikea_at_10: float
    products_per_s: float


def ours(products: Sequence[Product]) -> Matrix:
    return TfidfFactory().fit(products).embed(products)


def plain(products: Sequence[Product]) -> Matrix:
    return _dense(TfidfVectorizer(max_features=384).fit_transform(_joined(products)))


def svd(products: Sequence[Product]) -> Matrix:
    steps = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), TruncatedSVD(384, random_state=0))
    return _dense(normalize(steps.fit_transform(_joined(products))))


def full(products: Sequence[Product]) -> Matrix:
    """Words and pieces of words, tens of thousands of dimensions: the lexical ceiling."""
    union = make_union(
        TfidfVectorizer(sublinear_tf=True),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 5)),
    )
    return _dense(normalize(union.fit_transform(_joined(products))))


WAYS: dict[str, Embed] = {
    "recsys, 384": ours,
    "TfidfVectorizer(max_features=384)": plain,
    "words and pairs + SVD(384)": svd,
    "words + char_wb 3-5, not reduced": full,
}


def measure(embed: Embed, data: Path) -> Scores:
    """Embed the three catalogues and look for the labelled neighbors."""
    sets = abt_buy(data), sigmod(data), ikea(data)
    started = time.perf_counter()
    abt_buy_rows, sigmod_rows, ikea_rows = (embed(products) for products, _ in sets)
    seconds = time.perf_counter() - started
    (_, pairs), (_, duplicates), (_, categories) = sets
    sides = len(abt_buy_rows) // 2
    across = nearest(abt_buy_rows[:sides], abt_buy_rows[sides:])
    within = nearest(sigmod_rows, sigmod_rows, same=True)
    alike = nearest(ikea_rows, ikea_rows, same=True)[:, :10]
    return Scores(
        recall(across, pairs, 1),
        recall(across, pairs, 10),
        recall(within, duplicates, 1),
        recall(within, duplicates, 10),
        float(np.mean(categories[alike] == categories[:, np.newaxis])),
        sum(len(products) for products, _ in sets) / seconds,
    )


def nearest(queries: Matrix, rows: Matrix, *, same: bool = False) -> npt.NDArray[np.intp]:
    """Return for each query the ten rows with the highest cosine, itself left out if ``same``."""
    cosines = queries @ rows.T
    if same:
        np.fill_diagonal(cosines, -1)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :10]


def recall(found: npt.NDArray[np.intp], wanted: dict[int, set[int]], k: int) -> float:
    shares = [
        len(right.intersection(found[query, :k].tolist())) / min(k, len(right))
        for query, right in wanted.items()
    ]
    return float(np.mean(shares))


def abt_buy(data: Path) -> tuple[list[Product], dict[int, set[int]]]:
    """Return Abt's products, then as many of Buy's, and for each Abt row its Buy rows."""
    abt, buy, truth = (
        _rows(data / "abt_buy" / name, delimiter="|") for name in ("abt.csv", "buy.csv", "gt.csv")
    )
    abt_at, buy_at = ({row["id"]: n for n, row in enumerate(rows)} for rows in (abt, buy))
    pairs: dict[int, set[int]] = defaultdict(set)
    for row in truth:
        pairs[abt_at[row["D1"]]].add(buy_at[row["D2"]])
    fields = ("name", "description")
    return _products(abt, fields) + _products(buy, fields), pairs


def sigmod(data: Path) -> tuple[list[Product], dict[int, set[int]]]:
    offers = _rows(data / "sigmod2022" / "X2.csv")
    at = {row["id"]: n for n, row in enumerate(offers)}
    duplicates: dict[int, set[int]] = defaultdict(set)
    for row in _rows(data / "sigmod2022" / "Y2.csv"):
        left, right = at[row["lid"]], at[row["rid"]]
        duplicates[left].add(right)
        duplicates[right].add(left)
    return _products(offers, ("name", "description", "category", "brand")), duplicates


def ikea(data: Path) -> tuple[list[Product], npt.NDArray[np.str_]]:
    items = list({row["item_id"]: row for row in _rows(data / "ikea" / "ikea.csv")[::-1]}.values())
    renamed = [row | {"description": row["short_description"]} for row in items]
    products = _products(renamed, ("name", "description", "designer"))
    return products, np.array([row["category"] for row in items])


def _products(rows: Iterable[dict[str, str]], fields: Sequence[str]) -> list[Product]:
    return [
        Product.from_fields(str(n), clean_fields({name: row[name] for name in fields}))
        for n, row in enumerate(rows)
    ]


def _rows(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as feed:
        return list(csv.DictReader(feed, delimiter=delimiter))


def _joined(products: Iterable[Product]) -> list[str]:
    return [" ".join(texts_of(product)) for product in products]


def _dense(rows: object) -> Matrix:
    dense = rows.toarray() if hasattr(rows, "toarray") else rows
    return np.asarray(dense, np.float32)


def main() -> None:
    """Print the table."""
    if not DATA.is_dir():
        sys.exit(f"the real catalogues are not beside this checkout: {DATA}")
    table = Table("", "Abt-Buy @1", "@10", "SIGMOD @1", "@10", "IKEA p@10", "products/s")
    for name, embed in WAYS.items():
        scores = measure(embed, DATA)
        table.add_row(
            name, *(f"{share:.3f}" for share in scores[:-1]), f"{scores.products_per_s:,.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
