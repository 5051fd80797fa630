"""Descriptions with markup, as text."""

from __future__ import annotations

import html
import re

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_BLOCK = re.compile(
    r"<(?=/?(?:p|div|br|hr|li|ul|ol|dl|dt|dd|tr|td|th|table|h[1-6]|section|article|header|"
    r"footer|blockquote|pre|figure|option)\b)",
    re.IGNORECASE,
)


def to_text(markup: str) -> str:
    """Return what a reader would see, on one line; text without markup comes back as it is."""
    if "<" in markup and _TAG.search(markup):
        # Where a block begins or ends, words end too; an inline tag may stand within a word.
        return " ".join(_parsed(_BLOCK.sub(" <", markup)).split())
    if "&" in markup and _ENTITY.search(markup):
        return html.unescape(markup)
    return markup


def _parsed(markup: str) -> str:
    from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415 - few feeds need it

    tree = LexborHTMLParser(markup)
    tree.strip_tags(["script", "style", "template", "noscript"])
    return tree.body.text() if tree.body is not None else ""
