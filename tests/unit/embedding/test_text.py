from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.domain import Product
from recsys_cli.embedding.text import MAX_TEXT, digest, texts_of

# No text of a product holds a NUL: domain.clean_text takes it out.
_TEXT = st.text(st.characters(exclude_characters="\0"))
TEXTS = st.tuples(_TEXT, _TEXT, _TEXT, _TEXT)


@pytest.mark.parametrize(
    "name", ["brand", "Brand", "Model Number", "modelNumber", "MPN", "Option1 Value"]
)
def test_telling_attributes_count(name: str) -> None:
    assert texts_of(Product(id="1", attributes={name: "X200"}))[3] == "X200"


@pytest.mark.parametrize(
    "name", ["image_url", "Published", "created_at", "qty", "tax_class_name", "store_view_code"]
)
def test_other_attributes_do_not(name: str) -> None:
    assert texts_of(Product(id="1", attributes={name: "X200"})) == ("", "", "", "")


def test_the_order_of_attributes_does_not_matter() -> None:
    one = Product(id="1", attributes={"brand": "Halden", "color": "blue"})
    other = Product(id="1", attributes={"color": "blue", "brand": "Halden"})
    assert texts_of(one) == texts_of(other)


def test_what_comes_after_twenty_thousand_characters_does_not_matter() -> None:
    text = "a " * MAX_TEXT
    assert texts_of(Product(id="1", description=text + "b")) == texts_of(
        Product(id="1", description=text + "c")
    )


@given(TEXTS, TEXTS)
def test_digests_differ_where_texts_do(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_text_that_moves_to_another_field_is_another_text() -> None:
    assert digest(("lamp", "", "", "")) != digest(("", "lamp", "", ""))
