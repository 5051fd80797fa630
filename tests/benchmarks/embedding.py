"""How fast, how large? Embedding on one core, and a fit in bounded memory; one command:

    python -m tests.benchmarks.embedding [--products 1000000]

For each real catalogue, interleaved and in one run, medians of seven: our fit with embedding, our
embedding alone, scikit-learn's ``TfidfVectorizer().transform`` (whole words only) on the same text,
and the ratio of the last two. Then the peak memory of a fit over mixed products, and the artifact.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_cli.domain import Product
from recsys_cli.embedding.text import texts_of
from recsys_cli.embedding.tfidf import TfidfFactory, TfidfModel
from tests.benchmarks.catalogues import ikea, matching_sets
from tests.benchmarks.mixing import mixed
from tests.benchmarks.quality import DATA

ROUNDS = 7


class Rates(NamedTuple):
    """Products per second."""

    fit_and_embed: float
    embed: float
    words_only: float


def measure(products: list[Product]) -> Rates:
    factory = TfidfFactory()
    joined = [" ".join(texts_of(product)) for product in products]
    model, words_only = factory.fit(products), TfidfVectorizer().fit(joined)
    works: list[Callable[[], object]] = [
        lambda: factory.fit(products).embed(products),
        lambda: model.embed(products),
        lambda: words_only.transform(joined),
    ]
    seconds = [[_seconds(work) for work in works] for _ in range(ROUNDS)]
    return Rates(
        *(len(products) / statistics.median(column) for column in zip(*seconds, strict=True))
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print both tables."""
    if not DATA.is_dir():
        sys.exit(f"the real catalogues are not beside this checkout: {DATA}")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--products", type=int, default=1_000_000, help="for the fit in memory")
    count = parser.parse_args().products
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    _print_rates()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    model = TfidfFactory().fit(mixed(count))
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _print_fit(model, count / seconds, before / 1024, after / 1024)


def _print_rates() -> None:
    table = Table("products/s, one core", "fit + embed", "embed", "TfidfVectorizer words", "ratio")
    for labelled in (*matching_sets(DATA), ikea(DATA)):
        rates = measure(labelled.products)
        ratio = f"{rates.embed / rates.words_only:.2f}"
        table.add_row(labelled.name, *(f"{rate:,.0f}" for rate in rates), ratio)
    Console().print(table)


def _print_fit(model: TfidfModel, rate: float, before_mb: float, after_mb: float) -> None:
    artifact = model.to_bytes()
    opening = statistics.median(
        _seconds(lambda: TfidfFactory().load(artifact)) for _ in range(ROUNDS)
    )
    table = Table("a fit over mixed products", "")
    table.add_row("products", f"{model.info.products:,}")
    table.add_row("products/s, mixing included", f"{rate:,.0f}")
    table.add_row("peak memory before, after", f"{before_mb:,.0f} MB, {after_mb:,.0f} MB")
    table.add_row("artifact", f"{len(artifact) / 1000:,.0f} kB, opened in {opening * 1000:.0f} ms")
    Console().print(table)


if __name__ == "__main__":
    main()
