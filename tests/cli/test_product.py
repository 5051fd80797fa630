"""recsys product: what is wrong with the arguments is a usage error."""

from __future__ import annotations

import pytest

from tests.commands import Recsys

LONG = "x" * 513
WRONG = {
    "price is not a number: 'cheap'": ("product", "update", "lamp", "--price", "cheap"),
    "price is not a number: '-5'": ("product", "update", "lamp", "--price", "-5"),
    "product 'new' has no text": ("product", "put", "new", "--price", "5"),
    "the product is": ("product", "put", "new", "--name", "x" * 1_000_001),
    "not a product id: no id": ("product", "put", "", "--name", "Lamp"),
    "not a product id: the id is 513 bytes long": ("product", "update", LONG, "--price", "5"),
    "at most 512 are allowed": ("product", "rm", LONG),
    "not a product id: no": ("product", "show", " "),
    "not a product id: the": ("similar", LONG),
    "not a product id": ("similar", ""),
    "id: no id": ("explain", "lamp", ""),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_argument_is_one(said: str, recsys_embedded: Recsys) -> None:
    recsys_embedded("product", "put", "lamp", "--name", "Lamp")
    recsys_embedded("consume", "--drain")
    result = recsys_embedded(*WRONG[said], exits=2)
    assert said in result.err
    assert result.out == ""
    assert recsys_embedded("lag", "--json").json["lag"] == 0
