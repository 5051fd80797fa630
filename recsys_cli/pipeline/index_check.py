"""How well the live index finds the true neighbors, and what would make it find enough."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from recsys_cli.errors import NotEmbedded
from recsys_cli.generations import Generation, serving
from recsys_cli.pipeline.lease import held_lock
from recsys_cli.pipeline.recall import Sample, Truth, exact_truth, measure_recall
from recsys_cli.ports import Generations

LARGEST_EF = 4096
_WORST = 10


class IndexCheck(msgspec.Struct, frozen=True, kw_only=True):
    """``ef_that_suffices``: the smallest that reaches ``min_recall``; None where none does.

    ``ef_runtime``: None where there is nothing to set, as in a search that ``is_exact``.
    ``histogram``: how many queries found which share; ``worst``: those that found least.
    """

    generation: int
    queries: int
    k: int
    recall: float
    min_recall: float
    ef_runtime: int | None
    ef_that_suffices: int | None
    is_exact: bool
    histogram: list[tuple[str, int]]
    worst: list[tuple[str, float]]

    @property
    def is_enough(self) -> bool:
        return self.recall >= self.min_recall


def check_index(
    generations: Generations,
    sample: Sample,
    min_recall: float,
    *,
    tune: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> IndexCheck:
    """Hold the serving index against exact search; with ``tune``, set the ef that suffices.

    Raises NotEmbedded where there is nothing to search for.
    """
    generation = serving(generations.all())
    vectors = generations.store(generation)
    info = vectors.info()
    progress("exact search")
    truth = exact_truth(vectors, generation.spec.dimension, sample)
    if info is None or not any(truth.neighbors):
        raise NotEmbedded("there are no neighbors to look for", hint="recsys consume --drain")
    progress("the index")
    found = measure_recall(vectors, truth)
    ef_runtime = info.parameters.get("ef_runtime")
    ef = (
        None
        if ef_runtime is None
        else _smallest_ef(generations, generation, truth, min_recall, progress)
    )
    if tune and ef is not None:
        _set_ef(generations, generation.number, ef)
    return IndexCheck(
        generation=generation.number,
        queries=len(found.by_id),
        k=sample.k,
        recall=found.mean,
        min_recall=min_recall,
        ef_runtime=ef_runtime,
        ef_that_suffices=ef,
        is_exact=ef_runtime is None and vectors.can_search_exactly,
        histogram=found.histogram,
        worst=found.worst(_WORST),
    )


def _smallest_ef(
    generations: Generations,
    generation: Generation,
    truth: Truth,
    goal: float,
    progress: Callable[[str], None],
) -> int | None:
    """Double until it suffices, then halve the distance. Recall grows with ef, but for noise."""
    vectors = generations.store(generation)

    def suffices(ef: int) -> bool:
        progress(f"ef {ef}")
        return measure_recall(vectors, truth, ef).mean >= goal

    high = truth.k
    while not suffices(high):
        if high == LARGEST_EF:
            return None
        high = min(2 * high, LARGEST_EF)
    low = high // 2 if high > truth.k else high
    while high - low > max(1, high // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _set_ef(generations: Generations, number: int, ef: int) -> None:
    with held_lock(generations) as token:
        for generation in generations.all():
            if generation.number == number:
                spec = msgspec.structs.replace(generation.spec, ef_runtime=ef)
                generations.note(token, msgspec.structs.replace(generation, spec=spec))
