"""One product at a time: put, update, remove, show."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from heapq import nlargest

from recsys_cli.cleaning import clean_fields, clean_id, has_text
from recsys_cli.domain import EventType, Position, Product, ProductEvent
from recsys_cli.errors import InvalidProduct, ProductNotFound
from recsys_cli.pipeline.publish import changed_fields, publish_events
from recsys_cli.ports import Catalog, EventProcessor


def put_product(
    events: EventProcessor, catalog: Catalog, product_id: str, fields: Mapping[str, object]
) -> Position:
    """Publish a create: the whole product, replacing what was there. Raises InvalidProduct."""
    present = {n: v for n, v in clean_fields(fields).items() if v is not None}
    if not has_text(present):
        raise InvalidProduct(
            f"product {product_id!r} has no text", hint="give it a --name or a --description"
        )
    event = ProductEvent(
        type=EventType.CREATE, product_id=clean_id(product_id), fields=dict(present)
    )
    return publish_events(events, catalog, [event])[0]


def update_product(
    events: EventProcessor, catalog: Catalog, product_id: str, changes: Mapping[str, object]
) -> Position | None:
    """Publish the changed fields of a known product; None if none of them changes anything."""
    product_id = clean_id(product_id)
    state = catalog.get([product_id]).get(product_id)
    if state is None or not state.exists:
        raise not_found(catalog, product_id)
    changed = changed_fields(state, clean_fields(changes))
    if not changed:
        return None
    event = ProductEvent(type=EventType.UPDATE, product_id=product_id, fields=changed)
    return publish_events(events, catalog, [event], {product_id: state})[0]


def remove_product(events: EventProcessor, catalog: Catalog, product_id: str) -> Position:
    """Publish a delete of a known product."""
    product = show_product(catalog, product_id)
    event = ProductEvent(type=EventType.DELETE, product_id=product.id)
    return publish_events(events, catalog, [event])[0]


def show_product(catalog: Catalog, product_id: str) -> Product:
    """Return the product. Raises ProductNotFound, naming ids that look like it."""
    product_id = clean_id(product_id)
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
