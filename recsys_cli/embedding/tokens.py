"""Words: what a text is made of, in any script.

``Sony WH-1000XM4`` has the words ``sony``, ``wh``, ``1000xm4`` and, because shops disagree about
the hyphens of model numbers, ``wh1000xm4``. Scripts without spaces come as long words, which their
pieces (``features.py``) take apart.
"""

from __future__ import annotations

import re
import unicodedata

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

_BREAKS = {code: " " for code in range(128) if not chr(code).isalnum()}

_PLAIN = str.maketrans("đøłħıæœ", "dolhiao")


def words(text: str) -> list[str]:
    """Return the words of ``text`` in lower case, each once, in the order of their appearance."""
    text = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    found = dict.fromkeys(_runs(text))
    for code in _codes(text):
        joined = _JOINTS.sub("", code)
        if len(joined) <= MAX_CODE and _DIGIT.search(joined) and _LETTER.search(joined):
            found[joined] = None
    return list(found)


def _runs(text: str) -> list[str]:
    if text.isascii():
        # The same as below, at three times the speed.
        runs = text.translate(_BREAKS).split()
        if max(map(len, runs), default=0) <= MAX_WORD:
            return runs
    return _WORD.findall(text.replace("_", " "))


def _codes(text: str) -> list[str]:
    jointed = [chunk for chunk in text.split() if "-" in chunk or "." in chunk or "/" in chunk]
    return _CODE.findall(" ".join(jointed)) if jointed else []


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
