from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.pipeline.exact import nearest


@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 40),
    page=st.integers(1, 50),
    k=st.integers(1, 12),
)
def test_pages_give_what_all_at_once_would(seed: int, count: int, page: int, k: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = [f"p-{n}" for n in range(count)]
    pages = [(ids[at : at + page], rows[at : at + page]) for at in range(0, count, page)]
    found = nearest((ids, rows), pages, k)
    cosines = rows.astype(np.float64) @ rows.T.astype(np.float64)
    for number, neighbors in enumerate(found):
        order = [n for n in np.argsort(-cosines[number]) if n != number][:k]
        assert len(neighbors) == len(order)
        assert ids[number] not in [scored.product_id for scored in neighbors]
        expected = [cosines[number, n] for n in order]
        assert np.allclose([scored.score for scored in neighbors], expected, atol=2e-6)
