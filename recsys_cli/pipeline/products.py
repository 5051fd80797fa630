"""One product at a time: put, update, remove. Raises UsageError for what no product can have.

:func:`created` alone is also for programs, whose arguments are no command line.
"""

from __future__ import annotations

from collections.abc import Mapping

from recsys_cli.cleaning import clean_fields, clean_id, has_text
from recsys_cli.domain import EventType, Position, ProductEvent, filled
from recsys_cli.errors import InvalidProduct
from recsys_cli.pipeline.given import arguments, given_id
from recsys_cli.pipeline.publish import changed_fields, publish_events
from recsys_cli.pipeline.show import not_found, show_product
from recsys_cli.ports import Catalog, EventProcessor


def put_product(
    events: EventProcessor, catalog: Catalog, product_id: str, fields: Mapping[str, object]
) -> Position:
    """Publish a create: the whole product, replacing what was there."""
    product_id = given_id(product_id)
    with arguments():
        event = created(product_id, fields)
    return publish_events(events, catalog, [event])[0]


def created(product_id: object, fields: Mapping[str, object]) -> ProductEvent:
    """Return the event of a whole product. Raises InvalidProduct."""
    product_id, present = clean_id(product_id), filled(clean_fields(fields))
    if not has_text(present):
        raise InvalidProduct(
            f"product {product_id!r} has no text", hint="give it a --name or a --description"
        )
    return ProductEvent(type=EventType.CREATE, product_id=product_id, fields=present)


def update_product(
    events: EventProcessor, catalog: Catalog, product_id: str, changes: Mapping[str, object]
) -> Position | None:
    """Publish the changed fields of a known product; None if none of them changes anything."""
    product_id = given_id(product_id)
    state = catalog.get([product_id]).get(product_id)
    if state is None or not state.exists:
        raise not_found(catalog, product_id)
    with arguments():
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
