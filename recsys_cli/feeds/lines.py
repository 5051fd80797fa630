"""Text blocks cut into lines: at ``\\n``, ``\\r\\n`` and ``\\r``, and nowhere else.

Lines keep their ends. A line that is longer than a product may be is not kept in memory: it comes
alone in its block, as an :class:`OverlongLine`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from recsys_cli.cleaning import MAX_PRODUCT_BYTES

SHOWN_CHARACTERS = 500
"""How much is kept of what is too long to be kept."""

CHARACTERS_AT_ONCE = 64 * 1024
LINES_AT_ONCE = 256
"""So few that what is made of them is still in the processor's cache when it is used."""


class OverlongLine(str):
    """The beginning of a line that is too long."""

    __slots__ = ()


def line_blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield the lines of ``texts`` in lists; the last line may lack an end."""
    open_line = ""
    is_skipping = False
    for text in _pieces(texts):
        # str.splitlines would also cut at form feeds and U+2028, which product texts do have.
        lines = list(io.StringIO(open_line + text, newline=""))
        # A "\r" at the very end may be half of a "\r\n".
        open_line = lines.pop() if lines and not lines[-1].endswith("\n") else ""
        if is_skipping and lines:
            del lines[0]
            is_skipping = False
        for start in range(0, len(lines), LINES_AT_ONCE):
            yield lines[start : start + LINES_AT_ONCE]
        if is_skipping:
            open_line = open_line[-1:] if open_line.endswith("\r") else ""
        elif len(open_line) > MAX_PRODUCT_BYTES:
            yield [OverlongLine(open_line[:SHOWN_CHARACTERS])]
            open_line = ""
            is_skipping = True
    if open_line and not is_skipping:
        yield [open_line]


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), CHARACTERS_AT_ONCE):
            yield text[start : start + CHARACTERS_AT_ONCE]
