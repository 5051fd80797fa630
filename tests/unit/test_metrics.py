from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from recsys_cli.pipeline import metrics

HITS = st.lists(st.booleans(), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("hits", "relevant", "k", "expected"),
    [
        ([True, False, True], 2, 3, (1.0, 2 / 3, 1.0, (1 + 1 / 2) / (1 + 1 / np.log2(3)))),
        ([False, True], 5, 2, (0.5, 0.5, 0.5, (1 / np.log2(3)) / (1 + 1 / np.log2(3)))),
        ([False, False, True], 1, 2, (0.0, 0.0, 0.0, 0.0)),
        ([], 3, 10, (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_by_hand(
    hits: list[bool], relevant: int, k: int, expected: tuple[float, float, float, float]
) -> None:
    found = (
        metrics.recall(hits, relevant, k),
        metrics.precision(hits, k),
        metrics.reciprocal_rank(hits, k),
        metrics.ndcg(hits, relevant, k),
    )
    assert found == pytest.approx(expected)


@given(HITS, st.integers(0, 5), st.integers(2, 12))
def test_ndcg_is_that_of_scikit_learn(hits: list[bool], unfound: int, k: int) -> None:
    relevant = sum(hits) + unfound
    if relevant == 0:
        return
    truth = [*hits, *[True] * unfound, False]
    scores = list(range(len(truth), 0, -1))
    expected = ndcg_score([np.array(truth, float)], [scores], k=min(k, len(hits)))
    assert metrics.ndcg(hits, relevant, min(k, len(hits))) == pytest.approx(expected)


@given(HITS, st.integers(0, 5), st.integers(1, 12))
def test_all_are_shares(hits: list[bool], unfound: int, k: int) -> None:
    relevant = max(1, sum(hits) + unfound)
    for value in (
        metrics.recall(hits, relevant, k),
        metrics.precision(hits, k),
        metrics.reciprocal_rank(hits, k),
        metrics.ndcg(hits, relevant, k),
    ):
        assert 0 <= value <= 1
