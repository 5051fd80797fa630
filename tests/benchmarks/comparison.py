"""What a benchmark finds, how it is compared, and the one table of it all."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

PER_SECOND, EVENTS_PER_SECOND, MS, MB, BYTES = "products/s", "events/s", "ms", "MB", "bytes"


@dataclass(frozen=True)
class Row:
    """One figure of ours, beside the bare limit and a peer in the same ``unit`` and the same run.

    Where there is no limit or no peer it is None; the ``notes`` say what each of them is, ours
    first. ``size`` is the number of products, 0 where there are none.
    """

    stage: str
    size: int
    unit: str
    ours: float
    limit: float | None = None
    peer: float | None = None
    goals: tuple[Goal, ...] = ()
    notes: str = ""

    @property
    def of_limit(self) -> float | None:
        return None if self.limit is None else self.ours / self.limit

    @property
    def of_peer(self) -> float | None:
        return None if self.peer is None else self.ours / self.peer

    def ratio(self, of: str) -> float | None:
        """Return ours as a multiple of the ``limit`` or of the ``peer``."""
        return self.of_limit if of == "limit" else self.of_peer

    @property
    def cost(self) -> float:
        """What one product costs: more is worse, whatever the unit."""
        return 1 / self.ours if self.is_rate else self.ours

    @property
    def cost_at_limit(self) -> float | None:
        if self.limit is None:
            return None
        return 1 / self.limit if self.is_rate else self.limit

    @property
    def is_rate(self) -> bool:
        return self.unit in (PER_SECOND, EVENTS_PER_SECOND)

    @property
    def holds(self) -> bool | None:
        """Whether every goal that can be told is met; None where there is none."""
        verdicts = [verdict for goal in self.goals if (verdict := goal.met(self)) is not None]
        return all(verdicts) if verdicts else None


class Goal(NamedTuple):
    """``met`` says None where the row lacks what the goal is about."""

    text: str
    met: Callable[[Row], bool | None]


def at_least(ratio: float, of: str = "limit") -> Goal:
    """For rates: ours is this much of the limit, or of the peer."""
    return Goal(f"≥ {ratio:g}x {of}", lambda row: _judged(row, of, lambda found: found >= ratio))


def at_most(ratio: float, of: str = "limit") -> Goal:
    """For times and sizes."""
    return Goal(f"≤ {ratio:g}x {of}", lambda row: _judged(row, of, lambda found: found <= ratio))


def _judged(row: Row, of: str, meets: Callable[[float], bool]) -> bool | None:
    ratio = row.ratio(of)
    return None if ratio is None else meets(ratio)


def below(figure: float, unit: str) -> Goal:
    return Goal(f"< {figure:g} {unit}", lambda row: row.ours < figure)


def at_most_above_limit(difference: float, unit: str) -> Goal:
    return Goal(
        f"≤ limit + {difference:g} {unit}",
        lambda row: None if row.limit is None else row.ours - row.limit <= difference,
    )


def interleaved(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Go each way in turn, A B C A B C, and return what each said in every round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def medians(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(figures) for name, figures in found.items()}


def percentile(figures: Sequence[float], percent: int) -> float:
    """Return the smallest figure that so many percent do not exceed."""
    ordered = sorted(figures)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def show(rows: Iterable[Row], console: Console) -> None:
    """Print the table, what its rows compare, and how the cost grows with the size."""
    rows = list(rows)
    columns = ("stage", "size", "unit", "ours", "bare limit", "peer", "ours/limit", "ours/peer")
    table = Table(title="recsys beside the bare limits, one run", title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("stage", "unit") else "right")
    table.add_column("goal")
    table.add_column("holds?")
    for row, following in zip_longest(rows, rows[1:]):
        table.add_row(*_cells(row), end_section=_group(row) != _group(following))
    console.print(table)
    for line in (*_what_is_compared(rows), *growth(rows)):
        console.print(line, highlight=False, soft_wrap=True)


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a short table, a figure in one line with all its sizes.

    A ratio that misses a goal is bold.
    """
    yield "| figure | ours | of the limit | of the peer | goal |"
    yield "|---|---|---|---|---|"
    for stage, found in _by_stage(rows).items():
        ours = " / ".join(_figure(row.ours) for row in found)
        ratios = [_ratios(found, "limit"), _ratios(found, "peer")]
        goals = dict.fromkeys(goal.text for row in found for goal in row.goals)
        yield f"| {' | '.join([stage, f'{ours} {found[0].unit}', *ratios, ', '.join(goals)])} |"


def _ratios(found: Sequence[Row], of: str) -> str:
    if all(row.ratio(of) is None for row in found):
        return ""
    return " / ".join(_marked(row, of) for row in found)


def _marked(row: Row, of: str) -> str:
    shown = _ratio(row.ratio(of))
    is_missed = any(goal.met(row) is False for goal in row.goals if of in goal.text)
    return f"**{shown}**" if is_missed else shown


def growth(rows: Iterable[Row]) -> Iterator[str]:
    """Yield for each stage how much more a product costs at a larger size than at the one before.

    1.00 is flat.
    """
    for stage, found in _by_stage(rows).items():
        steps = [
            f"{one.size:,} -> {other.size:,}: {_step(one, other)}" for one, other in pairwise(found)
        ]
        if steps:
            yield f"growth  {stage}: cost x " + "; ".join(steps)


def _by_stage(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.stage, []).append(row)
    return found


def _step(one: Row, other: Row) -> str:
    grown = f"{other.cost / one.cost:.2f}"
    before, after = one.cost_at_limit, other.cost_at_limit
    return grown if before is None or after is None else f"{grown} (limit {after / before:.2f})"


def _what_is_compared(rows: Iterable[Row]) -> Iterator[str]:
    stages: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.notes:
            stages.setdefault(row.notes, {})[row.stage] = None
    return (f"{' | '.join(found)}: {note}" for note, found in stages.items())


def _group(row: Row | None) -> str:
    """Return what several stages are about, such as ``similar``."""
    return "" if row is None else re.split("[,:]", row.stage)[0]


def _cells(row: Row) -> list[str]:
    verdict = {True: "yes", False: "NO", None: ""}[row.holds]
    return [
        *(row.stage, f"{row.size:,}" if row.size else "-", row.unit),
        *map(_figure, (row.ours, row.limit, row.peer)),
        *map(_ratio, (row.of_limit, row.of_peer)),
        *(", ".join(goal.text for goal in row.goals), verdict),
    ]


def _figure(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
