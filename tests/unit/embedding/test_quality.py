from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.catalogues import abt_buy, ikea, matching_sets, sigmod, variations
from tests.benchmarks.quality import fitted_on_half, full, ours, precision, recall

pytestmark = pytest.mark.real_data


def test_true_matches_are_found_on_real_catalogues(real_data: Path) -> None:
    abt = recall(ours, abt_buy(real_data))
    assert abt.at_1 >= 0.89
    assert abt.at_10 >= 0.985
    assert recall(ours, sigmod(real_data)).at_1 >= 0.82
    assert precision(ours, ikea(real_data)) >= 0.72


def test_folding_to_384_dimensions_costs_nothing_on_average(real_data: Path) -> None:
    sets = [*matching_sets(real_data), *variations(real_data)]
    ratios = {s.name: recall(ours, s).at_1 / recall(full, s).at_1 for s in sets}
    assert min(ratios.values()) >= 0.97, ratios
    assert sum(ratios.values()) / len(ratios) > 1, ratios


def test_products_that_came_after_the_fit_are_found_as_well(real_data: Path) -> None:
    for labelled in matching_sets(real_data):
        later, all_ = recall(fitted_on_half, labelled), recall(ours, labelled)
        assert later.at_1 > 0.95 * all_.at_1
        assert later.at_10 > 0.95 * all_.at_10
