"""How fast, how large? Embedding on one core, and a fit in bounded memory; one command:

    python -m tests.benchmarks.embedding [--products 1000000]

For each real catalogue, interleaved and in one run, medians of seven: our fit with embedding, our
embedding alone, scikit-learn's ``TfidfVectorizer().transform`` (whole words only) on the same text,
and the ratio of the last two. Then the peak memory of a fit over mixed products, and the artifact.
As a stage of ``python -m tests.benchmarks`` it compares the last two, of mixed products.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_cli.domain import Product
from recsys_cli.embedding.text import texts_of
from recsys_cli.embedding.tfidf import TfidfFactory, TfidfModel
from tests.benchmarks.catalogues import ikea, matching_sets
from tests.benchmarks.comparison import PER_SECOND, Row, at_least, interleaved, medians
from tests.benchmarks.mixing import mixed
from tests.benchmarks.quality import DATA
from tests.benchmarks.workbench import Workbench

ROUNDS = 7


class Rates(NamedTuple):
    """Products per second; ``embed_anew``: by a model just opened, which has met no word yet."""

    fit_and_embed: float
    embed: float
    embed_anew: float
    words_only: float


def measure(bench: Workbench, size: int) -> list[Row]:
    """The stage: embedding alone, on one core, of mixed products, beside whole words alone."""
    with _one_core():
        rates = rates_of(bench.stock(size).products, bench.effort.rounds)
    return [
        Row(
            stage=stage,
            size=size,
            unit=PER_SECOND,
            ours=ours,
            limit=rates.words_only,
            goals=goals,
            notes=notes,
        )
        for stage, ours, goals, notes in (
            (
                "embedding, one core",
                rates.embed_anew,
                (at_least(0.5),),
                "a model just opened; TfidfVectorizer().transform, whole words, on the same text",
            ),
            (
                "embedding, one core, words seen",
                rates.embed,
                (),
                "a model that has met every word lately",
            ),
        )
    ]


def rates_of(products: list[Product], rounds: int = ROUNDS) -> Rates:
    factory = TfidfFactory()
    joined = [" ".join(texts_of(product)) for product in products]
    model, words_only = factory.fit(products), TfidfVectorizer().fit(joined)
    ways = {
        "fit_and_embed": lambda: _seconds(lambda: factory.fit(products).embed(products)),
        "embed": lambda: _seconds(lambda: model.embed(products)),
        "embed_anew": lambda: _seconds_anew(model.to_bytes(), products),
        "words_only": lambda: _seconds(lambda: words_only.transform(joined)),
    }
    seconds = medians(interleaved(ways, rounds))
    return Rates(**{name: len(products) / taken for name, taken in seconds.items()})


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process to one core, where the system lets us."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _seconds_anew(artifact: bytes, products: list[Product]) -> float:
    opened = TfidfFactory().load(artifact)
    return _seconds(lambda: opened.embed(products))


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
    with _one_core():
        _print_rates()
        _print_fit(count)


def _print_fit(count: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    model = TfidfFactory().fit(mixed(count))
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _print_model(model, count / seconds, before / 1024, after / 1024)


def _print_rates() -> None:
    table = Table("products/s, one core", "fit + embed", "embed", "TfidfVectorizer words", "ratio")
    for labelled in (*matching_sets(DATA), ikea(DATA)):
        rates = rates_of(labelled.products)
        ratio = f"{rates.embed / rates.words_only:.2f}"
        shown = (rates.fit_and_embed, rates.embed, rates.words_only)
        table.add_row(labelled.name, *(f"{rate:,.0f}" for rate in shown), ratio)
    Console().print(table)


def _print_model(model: TfidfModel, rate: float, before_mb: float, after_mb: float) -> None:
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
