"""The one door: whatever comes from a feed, a stream or the Python API passes through here.

Behind it every id, text and price is valid.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping

import msgspec

from recsys_cli.domain import Fields, FieldValue
from recsys_cli.errors import InvalidProduct

MAX_ID_BYTES = 512
MAX_PRODUCT_BYTES = 1_000_000
"""As JSON, the form in which it travels and is kept."""

MAY_BE_TOO_LONG = MAX_PRODUCT_BYTES // 16
"""In characters: with its quotes, one can be as much as fourteen bytes of JSON."""

_ONE_LINE = ("name", "category")


def clean_text(value: object) -> str:
    """Return ``value`` as text: NFC, no surrounding space, no lone surrogates, no NUL.

    Structured values (lists, objects) become compact JSON; ``True`` becomes ``true``.
    """
    text = value if isinstance(value, str) else _as_text(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-8", "replace").decode()
        text = unicodedata.normalize("NFC", text)
    return text.replace("\0", "").strip()


def clean_line(value: object) -> str:
    """Return ``value`` as names and categories are: clean text on one line."""
    return one_line(clean_text(value))


def one_line(text: str) -> str:
    """Return clean text with every run of white space in it as one space."""
    # Of all white space, only the space itself is printable.
    if text.isprintable() and "  " not in text:
        return text
    return " ".join(text.split())


def clean_id(value: object) -> str:
    """Return a product id: any text of 1 to 512 bytes in UTF-8. Raises InvalidProduct."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    product_id = clean_text(value) if value is not None else ""
    if not product_id:
        raise InvalidProduct("no id")
    size = len(product_id.encode())
    if size > MAX_ID_BYTES:
        raise InvalidProduct(f"the id is {size} bytes long; at most {MAX_ID_BYTES} are allowed")
    return product_id


def clean_price(value: object) -> float | None:
    """Return a price that is finite and not negative, or None. Raises InvalidProduct."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        price = float(value)
    except (ValueError, OverflowError):
        raise InvalidProduct(f"price is not a number: {_shown(value)}") from None
    if not math.isfinite(price):
        raise InvalidProduct(f"price is not a finite number: {_shown(value)}")
    if price < 0:
        raise InvalidProduct(f"price is negative: {_shown(value)}")
    return price


def clean_fields(raw: Mapping[str, object]) -> Fields:
    """Return ``raw`` (anything JSON can hold, without the id) as clean fields.

    Empty text becomes None. Raises InvalidProduct naming the field and its value.
    """
    fields: Fields = {}
    size = 0
    for name, value in raw.items():
        if name == "price":
            fields[name] = clean_price(value)
        elif value is None:
            fields[name] = None
        else:
            text = clean_line(value) if name in _ONE_LINE else clean_text(value)
            fields[name] = text or None
            size += len(text)
        size += len(name)
    if size > MAY_BE_TOO_LONG:
        check_size(fields)
    return fields


def check_size(fields: Fields) -> None:
    """Raise InvalidProduct for fields that are more than a product may be.

    There is no need to ask where all texts and names together have no more characters than
    ``MAY_BE_TOO_LONG``.
    """
    if (exact := len(msgspec.json.encode(fields))) > MAX_PRODUCT_BYTES:
        raise InvalidProduct(f"the product is {exact} bytes long; at most {MAX_PRODUCT_BYTES}")


def has_text(fields: Mapping[str, FieldValue]) -> bool:
    """Whether there is a name or a description: without either, nothing can be compared."""
    return bool(fields.get("name") or fields.get("description"))


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return msgspec.json.encode(value, enc_hook=str).decode()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
