from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.quality import measure, ours


@pytest.mark.real_data
def test_true_matches_are_found_on_real_catalogues(real_data: Path) -> None:
    scores = measure(ours, real_data)
    assert scores.abt_buy_at_1 >= 0.88
    assert scores.abt_buy_at_10 >= 0.985
    assert scores.sigmod_at_1 >= 0.82
    assert scores.ikea_at_10 >= 0.71
