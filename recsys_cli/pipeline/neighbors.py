"""The closest products of every product, in one batch job that can be interrupted and goes on."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from recsys_cli.domain import SCORE_DECIMALS
from recsys_cli.errors import IndexMissing, NotEmbedded
from recsys_cli.generations import Generation, serving
from recsys_cli.neighbor_lists import CloseProduct, NeighborList
from recsys_cli.pipeline.exact import Page, nearest, stored_pages
from recsys_cli.ports import Generations, NeighborSink, VectorStore

_EXACT_AT_ONCE = 2000
"""Queries for which all vectors are read once: each takes a few kB."""


@dataclass(frozen=True)
class ExportOptions:
    """``exact``: compare with every vector instead of asking the index."""

    k: int = 10
    workers: int = 2
    exact: bool = False


@dataclass
class NeighborReport:
    """``taken_over``: products that an interrupted run had done."""

    generation: int
    products: int = 0
    taken_over: int = 0
    seconds: float = 0.0


def export_neighbors(
    generations: Generations,
    open_sink: Callable[[Generation], NeighborSink],
    options: ExportOptions,
    progress: Callable[[int, int], None],
) -> NeighborReport:
    """Write the neighbors of all products that are embedded, all by the one generation that serves.

    Raises NotEmbedded where there is nothing, and IndexMissing where the generation is dropped
    meanwhile: then the next run begins anew.
    """
    started = time.monotonic()
    generation = serving(generations.all())
    vectors = generations.store(generation)
    info = vectors.info()
    if info is None or not info.documents:
        raise NotEmbedded("nothing is embedded", hint="recsys consume --drain")
    sink = open_sink(generation)
    report = NeighborReport(generation.number)
    pages = _left(stored_pages(vectors, info.dimension), sink, report)
    found: Iterator[list[NeighborList]]
    if options.exact or info.algorithm == "exact":
        found = (_exact(vectors, info.dimension, block, options.k) for block in _blocks(pages))
    else:
        found = _in_parallel(pages, lambda page: _asked(vectors, page, options.k), options.workers)
    for lists in found:
        sink.write(lists)
        report.products += len(lists)
        progress(report.products + report.taken_over, info.documents)
    if serving(generations.all()).number != generation.number:
        raise IndexMissing(
            f"generation {generation.number} no longer serves: its neighbors are out of date",
            hint="run the same command again",
        )
    sink.finish()
    report.seconds = time.monotonic() - started
    return report


def _left(pages: Iterable[Page], sink: NeighborSink, report: NeighborReport) -> Iterator[Page]:
    for ids, rows in pages:
        is_there = sink.already(ids)
        report.taken_over += sum(is_there)
        left = [place for place, there in enumerate(is_there) if not there]
        if left:
            yield [ids[place] for place in left], rows[left]


def _asked(vectors: VectorStore, page: Page, k: int) -> list[NeighborList]:
    ids, rows = page
    lists = []
    for product_id, found in zip(ids, vectors.search_many(list(rows), k + 1), strict=True):
        others = [n for n in found if n.product_id != product_id][:k]
        scored = [CloseProduct(n.product_id, _rounded(n.similarity_score)) for n in others]
        lists.append(NeighborList(product_id, scored))
    return lists


def _blocks(pages: Iterable[Page]) -> Iterator[Page]:
    """Put pages together: each block means reading all vectors once."""
    pages = iter(pages)
    while True:
        block: list[Page] = []
        queries = 0
        while queries < _EXACT_AT_ONCE and (page := next(pages, None)):
            block.append(page)
            queries += len(page[0])
        if not block:
            return
        ids = list(itertools.chain.from_iterable(ids for ids, _ in block))
        yield ids, np.concatenate([rows for _, rows in block])


def _exact(vectors: VectorStore, dimension: int, block: Page, k: int) -> list[NeighborList]:
    found = nearest(block, stored_pages(vectors, dimension), k)
    return [
        NeighborList(product_id, [CloseProduct(s.product_id, _rounded(s.score)) for s in scored])
        for product_id, scored in zip(block[0], found, strict=True)
    ]


def _in_parallel(
    pages: Iterable[Page], ask: Callable[[Page], list[NeighborList]], workers: int
) -> Iterator[list[NeighborList]]:
    """Yield in the order of the pages, with no more of them in hand than there are workers."""
    waiting: deque[Future[list[NeighborList]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for page in pages:
            waiting.append(pool.submit(ask, page))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _rounded(score: float) -> float:
    return round(score, SCORE_DECIMALS)
