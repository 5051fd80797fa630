"""How results look: rich tables on a terminal, tab-separated lines in a pipe, JSON on request.

stdout carries results only; everything said about them goes to stderr. This is the only module
that imports rich, and it does so when something is drawn: JSON needs none of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from recsys_cli.errors import RecsysError


LONGEST_UNFOLDED = 40
HUGE_PRICE = 1e12


@dataclass(frozen=True)
class Column:
    """How a terminal that is too narrow treats a column: it is cut, with "…", unless said.

    ``wraps``: goes on in the next line. ``whole``: keeps its width, and wraps only where it is
    long: ids are there to be copied.
    """

    name: str
    align: Literal["left", "right"] = "left"
    whole: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class Row:
    cells: Sequence[object]
    is_dim: bool = False


def table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    title: str = "",
    caption: str = "",
    goes_on: bool = False,
) -> None:
    """Print a table; in a pipe, tab-separated lines under a line of names.

    ``goes_on``: in a pipe, under the names that the last table has printed.
    """
    if not is_terminal():
        if not goes_on:
            _tab_separated([column.name for column in columns])
        for row in rows:
            _tab_separated([_plain(cell) for cell in row.cells])
        if caption:
            notice(caption)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=Text(_printable(title)) if title else None,
        caption=Text(_printable(caption)) if caption else None,
        title_justify="left",
        caption_justify="left",
        box=box.ROUNDED,
        title_style="bold",
        header_style="bold cyan",
    )
    for number, column in enumerate(columns):
        longest = max((len(_plain(row.cells[number])) for row in rows), default=0)
        # Rich narrows first what may wrap: the columns that are cut, by their cells.
        keeps_width = column.whole and longest <= LONGEST_UNFOLDED
        drawn.add_column(column.name, justify=column.align, overflow="fold", no_wrap=keeps_width)
    for row in rows:
        cells = [
            Text(_plain(cell))
            if column.whole or column.wraps
            else Text(_plain(cell), no_wrap=True, overflow="ellipsis")
            for column, cell in zip(columns, row.cells, strict=True)
        ]
        drawn.add_row(*cells, style="dim" if row.is_dim else None)
    _console(sys.stdout).print(drawn)


def is_terminal() -> bool:
    """Whether a person reads the results, not a program."""
    return sys.stdout.isatty()


def facts(title: str, pairs: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    rows = [Row([name, value]) for name, value in pairs]
    table([Column("what", whole=True), Column("value", whole=True)], rows, title=title)


def json_line(value: object) -> None:
    """Print one line of JSON."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def line(text: str) -> None:
    """Print a result that is a sentence."""
    sys.stdout.write(_printable(text) + "\n")


def notice(text: str) -> None:
    """Say something to whoever watches, on stderr."""
    _say(text, "dim")


def warning(text: str) -> None:
    _say(text, "yellow")


def success(text: str) -> None:
    _say(text, "green")


def error(problem: RecsysError) -> None:
    """Print an error: the sentence, then what to try next."""
    _say(f"error: {problem}", "bold red")
    if problem.hint:
        _say(f"  {problem.hint}", "")


@contextmanager
def progress(description: str) -> Iterator[ProgressBar]:
    """Show a progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield ProgressBar(None, None)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeElapsedColumn(),
        console=_console(sys.stderr),
        transient=True,
    )
    with bar:
        yield ProgressBar(bar, bar.add_task(_printable(description), total=None, counts=""))


class ProgressBar:
    def __init__(self, bar: Progress | None, task: TaskID | None) -> None:
        self._bar = bar
        self._task = task

    def update(self, *, done: int, total: int | None, counts: str, description: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                completed=done,
                total=total,
                counts=counts,
                description=_printable(description),
            )

    def say(self, text: str) -> None:
        """Say what is being done, where it cannot be counted."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, counts=_printable(text))


def number(value: float | None) -> str:
    """Return a count with thousands separated; unknown is called so."""
    return "unknown" if value is None else f"{value:,.0f}"


def counted(value: int, noun: str) -> str:
    """Return a count with its noun: 1 event, 2 events."""
    return f"{value:,} {noun}" + ("" if value == 1 else "s")


def price(value: float | None) -> str:
    """Return a price with thousands separated; one that no shop has, in short."""
    if value is None:
        return ""
    return f"{value:,.2f}" if value < HUGE_PRICE else f"{value:g}"


def size(value: int | None) -> str:
    """Return bytes in the largest unit that keeps the number above one."""
    if value is None:
        return "unknown"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:,.1f} {unit}" if unit != "B" else f"{amount:,.0f} B"
        amount /= 1000
    raise AssertionError


def duration_ms(value: int | None) -> str:
    """Return milliseconds as a person would say them: 850 ms, 12.3 s, 4.0 min, 2.5 h."""
    if value is None:
        return "unknown"
    for limit, divisor, unit in ((1000, 1, "ms"), (120_000, 1000, "s"), (7_200_000, 60_000, "min")):
        if value < limit:
            return f"{value / divisor:.{0 if divisor == 1 else 1}f} {unit}"
    return f"{value / 3_600_000:.1f} h"


def ago(moment: str) -> str:
    """Return how long ago an ISO 8601 time was; a time that is none, as it is."""
    try:
        passed = datetime.now(UTC) - datetime.fromisoformat(moment)
    except (ValueError, TypeError):
        return moment
    return duration_ms(max(0, round(passed.total_seconds() * 1000))) + " ago"


def _say(text: str, style: str) -> None:
    if sys.stderr.isatty():
        from rich.text import Text

        _console(sys.stderr).print(Text(_printable(text), style=style), soft_wrap=True)
    else:
        sys.stderr.write(_printable(text) + "\n")
        sys.stderr.flush()


@cache
def _console(file: TextIO) -> Console:
    from rich.console import Console

    return Console(file=file, highlight=False, emoji=False, markup=False)


def _tab_separated(cells: Sequence[str]) -> None:
    sys.stdout.write("\t".join(cells) + "\n")


def _plain(cell: object) -> str:
    return _printable(_shown(cell))


def _shown(cell: object) -> str:
    return "" if cell is None else str(cell)


def _printable(text: str) -> str:
    """Return the text without anything that moves the cursor: names come from strangers."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
