"""The text of a feed, decoded block by block.

A byte-order mark decides; without one, the NULs of UTF-16 tell; else it is UTF-8 until a byte says
otherwise. Then there are two cases. In an old Windows export every accented letter is such a byte:
the rest is read as cp1252. In a UTF-8 file with a few damaged places, most of them cut-off letters,
only those places are: they alone are read as cp1252. Which it is, the text around it tells.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator

from recsys_cli.errors import FeedError, UsageError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def check_encoding(name: str) -> None:
    """Raise UsageError unless ``name`` is a text encoding that Python knows."""
    try:
        b"".decode(name)
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError, UnicodeError):
        raise UsageError(
            f"unknown encoding {name!r}", hint="for example --encoding cp1252, or leave it out"
        ) from None


def detect_encoding(head: bytes) -> str:
    """Return the encoding that the first bytes of a feed suggest."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    sample = head[:4096]
    pairs = len(sample) // 2
    zeros = sample[0::2].count(0), sample[1::2].count(0)
    if pairs >= 2 and max(zeros) > 0.4 * pairs and min(zeros) < 0.05 * pairs:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    return "utf-8"


def decoded(
    blocks: Iterable[bytes], encoding: str, *, lenient: bool, notify: Callable[[str], None]
) -> Iterator[str]:
    """Yield the blocks as text, without the byte-order mark.

    ``lenient`` is for an encoding that was detected: what is not UTF-8 may be cp1252 then. In one
    that was asked for, what cannot be decoded becomes U+FFFD. ``notify`` hears of either once.
    """
    if lenient and encoding == "utf-8":
        texts = _Utf8(notify).decoded(blocks)
    else:
        texts = _strictly(blocks, encoding, notify)
    first = next(texts, "")
    yield first.removeprefix("\ufeff")
    yield from texts


def _strictly(
    blocks: Iterable[bytes], encoding: str, notify: Callable[[str], None]
) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    told = False
    for block in blocks:
        text = _decoded(decoder, block, encoding)
        if not told and "\ufffd" in text:
            told = True
            notify(f"some characters are not {encoding}; they are read as \ufffd")
        if text:
            yield text
    yield _decoded(decoder, b"", encoding)


def head_text(head: bytes, encoding: str) -> str:
    """Return the first bytes as text, for a first look. Raises FeedError."""
    return _decoded(codecs.getincrementaldecoder(encoding)("replace"), head, encoding).removeprefix(
        "\ufeff"
    )


def _decoded(decoder: codecs.IncrementalDecoder, block: bytes, encoding: str) -> str:
    try:
        return decoder.decode(block, final=not block)
    except UnicodeError as error:  # UTF-16 and UTF-32 insist on their marks
        raise FeedError(f"the feed is not {encoding}: {error}", hint="--encoding") from error


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


_OR_CP1252 = "recsys-or-cp1252"
codecs.register_error(_OR_CP1252, _as_cp1252)


class _Utf8:
    """UTF-8 until it is not; ``errors`` is None once the rest is cp1252."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._errors: str | None = "strict"
        self._lines = 1
        self._seen_letters = False

    def decoded(self, blocks: Iterable[bytes]) -> Iterator[str]:
        pending = b""
        for block in blocks:
            text, used = self._decode(pending + block, final=False)
            pending = (pending + block)[used:]
            if text:
                yield text
        yield self._decode(pending, final=True)[0]

    def _decode(self, data: bytes, *, final: bool) -> tuple[str, int]:
        if self._errors is None:
            return data.decode("cp1252", "replace"), len(data)
        try:
            text, used = codecs.utf_8_decode(data, self._errors, final)
        except UnicodeDecodeError as error:
            return self._decode_from(data, error, final=final)
        if self._errors == "strict":
            self._lines += text.count("\n")
            self._seen_letters = self._seen_letters or not text.isascii()
        return text, used

    def _decode_from(
        self, data: bytes, error: UnicodeDecodeError, *, final: bool
    ) -> tuple[str, int]:
        good, rest = data[: error.start].decode(), data[error.start :]
        where = f"line {self._lines + good.count(chr(10))} (byte 0x{data[error.start]:02X})"
        letters = sum(not char.isascii() for char in (good + rest.decode("utf-8", "ignore")))
        bad = len(rest) - len(rest.decode("utf-8", "ignore").encode())
        if self._seen_letters or letters > bad:
            self._errors = _OR_CP1252
            self._notify(f"not all of it is UTF-8, first in {where}; such bytes are read as cp1252")
        else:
            self._errors = None
            self._notify(
                f"not UTF-8 in {where}; read as cp1252 from there on (--encoding says otherwise)"
            )
        text, used = self._decode(rest, final=final)
        return good + text, error.start + used
