"""The benchmarks run, and say what they should: their short form, at a size that says nothing."""

from __future__ import annotations

import io
import math
import re
import shlex

import pytest
from rich.console import Console

from tests.benchmarks.__main__ import STAGES, arguments, measured
from tests.benchmarks.comparison import (
    MS,
    PER_SECOND,
    Row,
    at_least,
    at_most,
    at_most_above_limit,
    growth,
    interleaved,
    markdown,
    percentile,
    show,
)
from tests.benchmarks.workbench import Effort, has_redisvl
from tests.readme import README

TINY = Effort(
    sizes=(200,),
    rounds=1,
    runs=1,
    queries=20,
    events=2,
    memory_rows=300,
    memory_rows_on_redis=200,
    memory_rows_before=100,
)
FIGURES = {
    "trips": 1,
    "import": 1,
    "consume": 6,
    "embedding": 2,
    "import-unchanged": 2,
    "similar": 2,
    "similar-command": 1,
    "searchable": 4,
    "help": 1,
    "embedded-consume": 2,
    "embedded-similar": 2,
    "redis-bytes": 2,
    "memory": 4,
    "backends": 13,
}
WITHOUT_LIMIT = 5
WITH_PEER = 3
WITH_REDISVL = 6


@pytest.mark.real_data
@pytest.mark.usefixtures("real_data")
def test_every_stage_has_its_rows_and_the_table_prints() -> None:
    assert FIGURES.keys() == STAGES.keys()

    rows = list(measured(list(STAGES), TINY))

    assert len(rows) == sum(FIGURES.values())
    ratios = [ratio for row in rows for ratio in (row.of_limit, row.of_peer) if ratio is not None]
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios)
    assert sum(row.limit is None for row in rows) == WITHOUT_LIMIT
    peers = WITH_PEER + (WITH_REDISVL if has_redisvl() else 0)
    assert sum(row.peer is not None for row in rows) == peers
    printed = _shown(rows)
    assert all(row.stage in printed for row in rows)
    assert _quoted_stages() == list(dict.fromkeys(row.stage for row in rows))


def test_what_the_readme_says_of_make_bench_is_understood() -> None:
    text = README.read_text("utf-8")
    assert "\nbench:" in README.with_name("Makefile").read_text("utf-8")
    found = re.findall(r"^make bench BENCH=(\"[^\"]+\"|\S+)", text, re.MULTILINE)
    understood = [arguments(shlex.split(options.strip('"'))) for options in found]
    assert [(asked.stages, asked.markdown) for asked in understood] == [
        (["import", "consume"], False),
        ([], True),
    ]


def test_goals_are_told_by_ratios() -> None:
    rate = Row("consume", 1000, PER_SECOND, ours=90, limit=100, goals=(at_least(0.85),))
    assert rate.holds
    slow = Row("consume", 1000, PER_SECOND, ours=90, limit=100, goals=(at_least(0.95),))
    assert slow.holds is False
    fast = Row(
        "similar", 1000, MS, ours=3, limit=2, peer=4, goals=(at_most(1.5), at_most(1, "peer"))
    )
    assert fast.holds
    start = Row("--help", 0, MS, ours=130, limit=10, goals=(at_most_above_limit(110, MS),))
    assert start.holds is False


def test_a_goal_without_its_peer_is_not_judged() -> None:
    row = Row("consume", 1000, PER_SECOND, ours=90, limit=100, goals=(at_least(1, "peer"),))
    assert row.holds is None


def test_growth_is_of_the_cost_whatever_the_unit() -> None:
    rates = [
        Row("consume", n, PER_SECOND, ours, limit)
        for n, ours, limit in ((1000, 90, 100), (10_000, 60, 50))
    ]
    times = [Row("similar", n, MS, ours) for n, ours in ((1000, 2), (10_000, 3))]
    assert list(growth([*rates, *times])) == [
        "growth  consume: cost x 1,000 -> 10,000: 1.50 (limit 2.00)",
        "growth  similar: cost x 1,000 -> 10,000: 1.50",
    ]


def test_the_short_table_has_a_line_for_each_figure_and_marks_what_misses() -> None:
    rows = [
        Row("consume", 1000, PER_SECOND, 90, 100, 80, (at_least(0.85), at_least(1, "peer"))),
        Row("consume", 10_000, PER_SECOND, 60, 100, 80, (at_least(0.85), at_least(1, "peer"))),
        Row("similar", 0, MS, 3.14),
    ]
    assert list(markdown(rows))[2:] == [
        "| consume | 90 / 60 products/s | 0.90 / **0.60** | 1.12 / **0.75** "
        "| ≥ 0.85x limit, ≥ 1x peer |",
        "| similar | 3.14 ms |  |  |  |",
    ]


def test_ways_take_turns() -> None:
    taken: list[str] = []

    def way(name: str) -> float:
        taken.append(name)
        return len(taken)

    found = interleaved({"a": lambda: way("a"), "b": lambda: way("b")}, rounds=2)

    assert taken == ["a", "b", "a", "b"]
    assert found == {"a": [1, 3], "b": [2, 4]}


def test_percentile_is_a_figure_that_was_found() -> None:
    figures = [float(n) for n in range(1, 101)]
    assert (percentile(figures, 50), percentile(figures, 99)) == (50, 99)
    assert percentile([7.0], 99) == 7


def _quoted_stages() -> list[str]:
    text = README.read_text("utf-8")
    tables = re.findall(r"<!-- benchmarks -->\n(.*?)\n<!-- /benchmarks -->", text, re.DOTALL)
    rows = [line for table in tables for line in table.splitlines()[2:]]
    return [line.split(" | ")[0].removeprefix("| ") for line in rows]


def _shown(rows: list[Row]) -> str:
    out = io.StringIO()
    show(rows, Console(file=out, width=250))
    return out.getvalue()
