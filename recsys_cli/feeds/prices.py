"""What people write into a price column, as a number.

A number that a program wrote (``1299``, ``12.5``, ``1.2E+04``) is taken as it is. Else there may be
a currency before and after it, and these rules tell its marks apart, in this order:

1. Spaces and apostrophes group thousands: ``1 299,00`` and ``1'299.00``.
2. Where both comma and point occur, the last one is the decimal mark: ``1,299.00``, ``1.299,00``.
3. A mark that occurs twice groups thousands: ``1.299.000``.
4. A single comma groups if exactly three digits follow (``1,299``, but not ``0,299``), else it is
   the decimal mark (``12,5``).
5. A single point is the decimal mark (``1.299`` is little more than one), unless exactly three
   digits follow and shops that use the currency beside it group with points (``Rp 15.000``).

Groups have three digits; Indian ones two, before the last three (``1,29,900``). ``12,-`` is 12.
Ranges, percentages, negative and infinite amounts are no prices.
"""

from __future__ import annotations

import math
import re
import unicodedata
from functools import lru_cache

from recsys_cli.errors import InvalidProduct

_CURRENCIES = frozenset(
    # ISO 4217, and then what shops write instead.
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN
    BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
    GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW
    KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN
    NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK
    SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS
    VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWL
    BS DH DHS EURO EUROS FR FT KC KD KR KČ LE LEI LEK LV QR R RM RMB RP RS SFR SR TK TL ZL ZŁ Đ
    ЛВ Р РУБ ГРН ДИН 元 円 원 บาท . S/ B/
    """.split()
)

_GROUPING_WITH_POINTS = frozenset(
    "€ EUR EURO EUROS ₫ Đ VND RP IDR R$ BRL KR DKK NOK ISK ₺ TL TRY ARS CLP COP PYG UYU".split()
)

_TYPOGRAPHY = str.maketrans({"’": "'", "ʼ": "'", "٫": ".", "٬": ","})
# A mark before the first digit belongs to the number, unless it ends an abbreviation: "Rs.500".
_AMOUNT = re.compile(r"(\D*?)((?:(?<![^\W\d_])[.,])?\d(?:[\d.,' ]*\d)?)(\D*)")
_NO_CENTS = re.compile(r"(?<=\d)[.,] ?[-–—]{1,2}(?!\d)")
_CURRENCY_WORD = re.compile(r"[A-Z]{1,3}\$|[SB]/|[^\W\d_]+|\S")
_WHOLE = {
    mark: re.compile(rf"\d+|\d{{1,3}}(?:{mark}\d{{3}})+|\d{{1,2}}(?:{mark}\d{{2}})+{mark}\d{{3}}")
    for mark in (r"\.", ",", " ", "'")
}
_GROUPED_ONCE = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")


def parse_price(text: str) -> float | None:
    """Return the amount in ``text``, None where it is blank. Raises InvalidProduct."""
    if not text:
        return None
    try:
        price = float(text)
    except ValueError:
        return _written_by_people(text)
    if not 0 <= price < math.inf or "_" in text:
        raise _not_a_price(text)
    return price + 0.0  # zero has no sign


@lru_cache(maxsize=4096)
def _written_by_people(text: str) -> float | None:
    plain = " ".join(text.translate(_TYPOGRAPHY).split())
    if not plain:
        return None
    if len(plain) <= 60 and (found := _AMOUNT.fullmatch(_NO_CENTS.sub("", plain))):
        before, number, after = found.groups()
        currencies = _CURRENCY_WORD.findall(before.upper()) + _CURRENCY_WORD.findall(after.upper())
        if all(map(_is_currency, currencies)):
            by_points = not _GROUPING_WITH_POINTS.isdisjoint(currencies)
            digits = _digits(number, by_points=by_points)
            if digits is not None:
                return float(digits)
    raise _not_a_price(text)


def _is_currency(word: str) -> bool:
    return word in _CURRENCIES or word.endswith("$") or unicodedata.category(word[0]) == "Sc"


def _digits(number: str, *, by_points: bool) -> str | None:
    """Return the number as Python writes it, None where its groups make no sense."""
    point, comma = number.rfind("."), number.rfind(",")
    mark = max(point, comma)
    if mark < 0 or _is_grouping(number, by_points=by_points):
        whole, cents = number, ""
    else:
        whole, cents = number[:mark], number[mark + 1 :]
    groups = {char for char in whole if not char.isdigit()}
    if (not cents.isdigit() and cents) or len(groups) > 1:
        return None
    for char in groups:
        if not _WHOLE[re.escape(char) if char == "." else char].fullmatch(whole):
            return None
        whole = whole.replace(char, "")
    return f"{whole}.{cents or 0}"


def _is_grouping(number: str, *, by_points: bool) -> bool:
    """Whether the only kind of mark in the number groups its thousands."""
    marks = [char for char in number if not char.isdigit()]
    if len(set(marks)) > 1:
        return False
    if len(marks) > 1:
        return True
    return (marks == [","] or by_points) and bool(_GROUPED_ONCE.fullmatch(number))


def _not_a_price(text: str) -> InvalidProduct:
    shown = text if len(text) <= 40 else text[:37] + "..."
    return InvalidProduct(f"price is not a number: {shown!r}")
