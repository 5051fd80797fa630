"""Words: what a text is made of, in any script.

``Sony WH-1000XM4`` has the words ``sony``, ``wh``, ``1000xm4`` and, because shops disagree about
the hyphens of model numbers, ``wh1000xm4``. Scripts without spaces come as long words, which their
pieces (``features.py``) take apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_WORD = 40
"""Characters; a longer run of letters is cut into several words."""

MAX_CODE = 24
"""Characters; a longer chain of parts is a path or a sentence, not a model number."""

# Python's \w leaves out the vowel signs that many scripts write as combining marks.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963"
    "\u0966-\u0dff\u0e31-\u0e3a\u0e40-\u0e4e\u0eb1-\u0ece\u0f71-\u0fbc\u1000-\u109f\u1780-\u17d3"
)
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"
_WORD = re.compile(rf"[\w{_MARKS}]{{1,{MAX_WORD}}}|[{_EMOJI}]")
_CODE = re.compile(r"[^\W_]+(?:[-./][^\W_]+)+")
_JOINTS = re.compile(r"[-./]")
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[^\W\d_]")

_BEYOND = re.compile("[^\x00-\xff\u2000-\u206f]")
"""What is neither Latin-1 nor General Punctuation, where nothing is part of a word."""


def _table(*, joints: str) -> bytes:
    """Return what turns Latin-1 into lower case, joints into ``-``, and all but words to spaces."""
    kept = {chr(code): chr(code).lower() for code in range(256) if chr(code).isalnum()}
    kept |= dict.fromkeys(joints, "-")
    return "".join(kept.get(chr(code), " ") for code in range(256)).encode("latin-1", "replace")


_APART, _JOINTED = _table(joints=""), _table(joints="-./")

_PLAIN = str.maketrans("đøłħıæœ", "dolhiao")


def words(text: str) -> list[str]:
    """Return the words of ``text`` in lower case, each once, in the order of their appearance."""
    if not text:
        return []
    if not text.isascii():
        text = _folded(text)
        if _BEYOND.search(text):
            return _words(text)
    # The same as there, at five times the speed.
    raw = text.encode("latin-1", "replace")
    runs = raw.translate(_APART).decode("latin-1").split()
    if len(text) > MAX_WORD and max(map(len, runs), default=0) > MAX_WORD:
        return _words(_folded(text))
    found = dict.fromkeys(runs)
    # The end of a sentence joins nothing.
    jointed = raw.translate(_JOINTED).replace(b"- ", b" ")
    if b"-" in jointed:
        chunks = [chunk for chunk in jointed.decode("latin-1").split() if "-" in chunk]
        for code in [chunk.strip("-") for chunk in chunks]:
            if "-" in code:
                # Two joints in a row do not either.
                _add_codes(found, code.split("--") if "--" in code else [code])
    return list(found)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _words(text: str) -> list[str]:
    found = dict.fromkeys(_WORD.findall(text.replace("_", " ")))
    jointed = [chunk for chunk in text.split() if "-" in chunk or "." in chunk or "/" in chunk]
    _add_codes(found, (_JOINTS.sub("-", code) for code in _CODE.findall(" ".join(jointed))))
    return list(found)


def _add_codes(found: dict[str, None], codes: Iterable[str]) -> None:
    """Add the model numbers among words joined by ``-``: those with a digit and a letter."""
    for code in codes:
        joined = code.replace("-", "")
        if joined.isalpha() or joined.isdecimal() or len(joined) > MAX_CODE:
            continue
        if "-" in code.strip("-") and _DIGIT.search(joined) and _LETTER.search(joined):
            found[joined] = None


def without_marks(word: str) -> str:
    """Return ``word`` without the marks on its Latin letters: ``điện`` and ``dien`` are one.

    Marks of other scripts stay, where they make another letter.
    """
    if word.isascii():
        return word
    kept: list[str] = []
    for character in unicodedata.normalize("NFD", word.translate(_PLAIN)):
        if not (unicodedata.combining(character) and kept and kept[-1].isascii()):
            kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))
