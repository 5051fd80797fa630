from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.pipeline.diversity import diversified


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 12),
    limit=st.integers(1, 15),
    balance=st.floats(0, 1),
)
def test_each_is_the_best_of_those_left(seed: int, count: int, limit: int, balance: float) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = np.sort(rows @ rows[0])[::-1]
    chosen = diversified(scores.tolist(), rows, limit, balance)
    assert len(chosen) == len(set(chosen)) == min(count, limit)
    for place, one in enumerate(chosen):
        before = chosen[:place]

        def gain(n: int, before: list[int] = before) -> float:
            closest = max((float(rows[n] @ rows[b]) for b in before), default=0.0)
            return balance * float(scores[n]) - (1 - balance) * closest

        assert gain(one) >= max(gain(n) for n in range(count) if n not in before) - 1e-6


def test_closeness_alone_keeps_the_order() -> None:
    rows = np.eye(4, dtype=np.float32)
    assert diversified([0.9, 0.8, 0.7, 0.6], rows, 3, 1.0) == [0, 1, 2]


def test_a_copy_of_what_was_chosen_comes_last() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert diversified([0.9, 0.9, 0.1], rows, 3, 0.5) == [0, 2, 1]
