"""JSON feeds, one product at a time: lines, or the elements of an array.

An array is not parsed as a whole. A scanner that knows only strings and brackets cuts it into its
elements, so that one broken element costs no other, and nothing is held but the element in hand.
The array may be wrapped, as in ``{"products": [...]}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from recsys_cli.cleaning import MAX_PRODUCT_BYTES
from recsys_cli.feeds.lines import SHOWN_CHARACTERS, OverlongLine, line_blocks
from recsys_cli.feeds.records import TOO_LONG, JsonValue, Unreadable

_SPECIAL = re.compile(r'[\\"{}\[\]\n]')
_BETWEEN = " \t\r\n,"
_decoder = msgspec.json.Decoder()


def json_lines(texts: Iterable[str]) -> Iterator[JsonValue | Unreadable]:
    """Yield the value of each line that is not blank."""
    number = 0
    for block in line_blocks(texts):
        for line in block:
            number += 1
            if isinstance(line, OverlongLine):
                yield Unreadable(number, TOO_LONG, line)
            elif text := line.strip():
                yield _value(number, text)


def json_elements(texts: Iterable[str]) -> Iterator[JsonValue | Unreadable]:
    """Yield the elements of the feed's array, or of the arrays in its object."""
    return _Scanner().elements(texts)


def _value(line: int, text: str) -> JsonValue | Unreadable:
    try:
        return JsonValue(line, _decoder.decode(text))
    except (msgspec.DecodeError, UnicodeError) as error:
        return Unreadable(line, f"invalid JSON: {error}", text)
    except RecursionError:
        return Unreadable(line, "invalid JSON: nested too deeply", text[:SHOWN_CHARACTERS])


class _Scanner:
    """Follows strings and brackets over any cuts between the texts."""

    def __init__(self) -> None:
        self._line = 1
        self._in_string = False
        self._after_backslash = False
        self._around: list[str] = []
        """The open brackets outside of any element."""
        self._has_array = False
        self._depth = 0
        """How many brackets are open inside the element in hand; 0: there is none."""
        self._pieces: list[str] = []
        self._size = 0
        self._started = 0

    def elements(self, texts: Iterable[str]) -> Iterator[JsonValue | Unreadable]:
        for text in texts:
            yield from self._scan(text)
        if self._depth:
            yield Unreadable(
                self._started, "the JSON ends in the middle of this element", self._taken()
            )
        elif self._around:
            yield Unreadable(self._line, "the JSON ends before its array does", "")
        elif not self._has_array:
            yield Unreadable(
                self._line, "no array of products; --format jsonl reads a product a line", ""
            )

    def _scan(self, text: str) -> Iterator[JsonValue | Unreadable]:
        start = 0
        for at, char in self._brackets(text):
            if char in "{[":
                is_element = char == "{" and self._around[-1:] == ["["]
                if self._depth or is_element:
                    if not self._depth:
                        yield from self._stray(text[start:at])
                        start, self._started = at, self._line
                    self._depth += 1
                    continue
                self._around.append(char)
                self._has_array |= char == "["
            elif self._depth:
                self._depth -= 1
                if self._depth:
                    continue
                self._keep(text[start : at + 1])
                yield self._element()
            elif self._around and self._around.pop() == "[":
                yield from self._stray(text[start:at])
            start = at + 1
        if self._depth:
            self._keep(text[start:])

    def _brackets(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the brackets that are outside of strings, with their places."""
        escaped = 0 if self._after_backslash else -1
        for match in _SPECIAL.finditer(text):
            at, char = match.start(), match[0]
            self._line += char == "\n"
            if at == escaped or char == "\n":
                continue
            if char == "\\":
                escaped = at + 1 if self._in_string else escaped
            elif char == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                yield at, char
        self._after_backslash = escaped == len(text) > 0

    def _keep(self, piece: str) -> None:
        self._size += len(piece)
        if self._size <= MAX_PRODUCT_BYTES or not self._pieces:
            self._pieces.append(piece[: MAX_PRODUCT_BYTES + 1])

    def _taken(self) -> str:
        text = "".join(self._pieces)
        self._pieces, self._size = [], 0
        return text[:SHOWN_CHARACTERS]

    def _element(self) -> JsonValue | Unreadable:
        if self._size > MAX_PRODUCT_BYTES:
            return Unreadable(self._started, TOO_LONG, self._taken())
        text = "".join(self._pieces)
        self._pieces, self._size = [], 0
        return _value(self._started, text)

    def _stray(self, text: str) -> Iterator[Unreadable]:
        """What stands between the elements should be a comma."""
        for piece in text.split(","):
            if stray := piece.strip(_BETWEEN):
                yield Unreadable(self._line, "not an object", stray[:SHOWN_CHARACTERS])
