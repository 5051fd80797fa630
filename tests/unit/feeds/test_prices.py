from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.errors import InvalidProduct
from recsys_cli.feeds.prices import parse_price

amounts = st.integers(0, 10**9).map(lambda cents: cents / 100)


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("19.99", 19.99),
        ("$1,299.00", 1299.0),
        ("1.299,00 €", 1299.0),
        ("12 USD", 12.0),
        ("SR 2,375", 2375.0),
        ("1 299,00 kr", 1299.0),
        ("1\u00a0299,00\u00a0€", 1299.0),
        ("1\u202f299,00 €", 1299.0),
        ("1'299.00", 1299.0),
        ("1,299", 1299.0),
        ("12,5", 12.5),
        ("12,50", 12.5),
        ("EUR 5", 5.0),
        ("₫1.299.000", 1299000.0),
        ("Rp 15.000", 15000.0),
        ("12,-", 12.0),
        ("0", 0.0),
        ("", None),
        ("  ", None),
    ],
)
def test_what_people_write(text: str, price: float | None) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "N/A",
        "nan",
        "inf",
        "-5",
        "1e400",
        "12 34 56",
        "10 - 20",
        "(5)",
        "5%",
        "1.2.3",
        "1_000",
    ],
)
def test_what_is_no_price(text: str) -> None:
    with pytest.raises(InvalidProduct, match="price is not a number"):
        parse_price(text)


@given(amounts)
def test_amounts_come_back_from_every_style(amount: float) -> None:
    english = f"{amount:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    french = english.replace(",", "\u202f").replace(".", ",")
    swiss = english.replace(",", "'")
    for text in (english, german, french, swiss):
        for shown in (text, f"${text}", f"{text} €", f"CHF {text}"):
            assert parse_price(shown) == amount


@given(st.text(max_size=30))
def test_any_text_is_a_price_or_a_reason(text: str) -> None:
    try:
        price = parse_price(text)
    except InvalidProduct:
        return
    assert price is None or 0 <= price < float("inf")
