"""Show a product of the catalog; where there is none, the ids that look like the one asked for."""

from __future__ import annotations

from difflib import get_close_matches
from heapq import nlargest

from recsys_cli.domain import Product
from recsys_cli.errors import ProductNotFound
from recsys_cli.pipeline.given import given_id
from recsys_cli.ports import Catalog


def show_product(catalog: Catalog, product_id: str) -> Product:
    """Return the product. Raises ProductNotFound, naming ids that look like it, or UsageError."""
    product_id = given_id(product_id)
    state = catalog.get([product_id]).get(product_id)
    product = state and state.product(product_id)
    if not product:
        raise not_found(catalog, product_id)
    return product


def not_found(catalog: Catalog, product_id: str) -> ProductNotFound:
    """Return the error for an unknown id, with the nearest known ones as its hint."""
    near = _nearest_ids(catalog, product_id)
    hint = "did you mean " + ", ".join(near) + "?" if near else ""
    return ProductNotFound(f"the catalog has no product {product_id!r}", hint=hint)


def _nearest_ids(catalog: Catalog, product_id: str, limit: int = 3) -> list[str]:
    """Return known ids similar to this one; reads the whole catalog, a chunk at a time."""
    wanted = product_id.casefold()
    # A cheap first cut by shared pairs of characters, so that the exact measure sees few.
    pairs = {wanted[i : i + 2] for i in range(len(wanted) - 1)} or {wanted}

    def likeness(candidate: str) -> float:
        folded = candidate.casefold()
        return sum(pair in folded for pair in pairs) / (len(pairs) + len(folded))

    candidates = nlargest(50, (product.id for product in catalog.products()), key=likeness)
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    return [by_folded[match] for match in get_close_matches(wanted, by_folded, limit, 0.6)]
