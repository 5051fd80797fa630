"""What an embedding looks at: four texts of a product, each with a weight of its own.

Each text is brought to the same length before they are added, so that a long description does not
drown the name. Of the other columns of a feed only those count that say what the thing is: links,
dates, flags and stock levels would make strangers look alike.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TypeAlias

from recsys_cli.domain import Product

Texts: TypeAlias = tuple[str, str, str, str]
"""Name, description, category, and the telling attributes together."""

WEIGHTS = (1.0, 1.0, 0.5, 0.3)
"""Of the four texts; ``tests/benchmarks/quality.py`` measures what they give."""

MAX_TEXT = 20_000
"""Characters of a text that count: what comes later tells no more about the product."""

TELLING_ATTRIBUTES = frozenset(
    (
        "brand manufacturer vendor maker publisher designer author artist "
        "model model_number model_name mpn part_number series collection "
        "color colour material fabric size capacity flavor flavour scent pattern style "
        "gender age_group tags keywords short_description summary subtitle "
        "option1_value option2_value option3_value "
        "attribute_1_value_s attribute_2_value_s attribute_3_value_s"
    ).split()
)
"""The attributes that count, however they are spelled: ``Model Number``, ``modelNumber``."""


def texts_of(product: Product) -> Texts:
    """Return the texts to embed, in the order of ``WEIGHTS``."""
    return (
        product.name[:MAX_TEXT],
        product.description[:MAX_TEXT],
        product.category[:MAX_TEXT],
        " ".join(telling_attributes(product).values())[:MAX_TEXT] if product.attributes else "",
    )


def fields_of(product: Product) -> tuple[dict[str, str], ...]:
    """Return for each of ``texts_of`` the fields that it is made of, by their names."""
    name, description, category, _ = texts_of(product)
    return (
        {"name": name},
        {"description": description},
        {"category": category},
        telling_attributes(product),
    )


def telling_attributes(product: Product) -> dict[str, str]:
    """Return the attributes that count, in the order in which they are joined."""
    return {name: product.attributes[name] for name in sorted(product.attributes) if _tells(name)}


def digest(texts: Texts) -> str:
    """Return 32 hexadecimal digits that differ where any of the texts does."""
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=16).hexdigest()


@lru_cache(maxsize=4096)
def _tells(attribute: str) -> bool:
    words_apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", attribute)
    return re.sub(r"[\W_]+", "_", words_apart).strip("_").casefold() in TELLING_ATTRIBUTES
