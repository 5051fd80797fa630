"""What a product is, given the events seen so far: pure, and the same in every order.

A :class:`ProductState` keeps, for every field, the newest value and the position that set it, and
the newest create and delete. :func:`merge` takes the newer of each. That makes states a
join-semilattice (Shapiro et al. 2011, "Conflict-free replicated data types"): merge is commutative,
associative and idempotent, so consumers may see events late, twice or out of order and still agree
with whoever applied them in stream order.

What the events mean, in stream order: a create replaces the whole product, an update sets the
fields it carries, a delete removes the product. After a delete only a create brings it back; an
update of a product that was never created makes one, because the create may have been trimmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from recsys_cli.domain import (
    BEGINNING,
    EventType,
    Fields,
    FieldValue,
    Position,
    Product,
    ProductEvent,
    filled,
)


class ProductState(msgspec.Struct, frozen=True, kw_only=True):
    """All that the seen events say of one product; ``created``, ``deleted``: None when not seen.

    ``values`` has the newest value of each field, None where it was emptied. ``later`` says which
    position set it, for those fields that the create did not set.
    """

    created: Position | None = None
    deleted: Position | None = None
    values: Fields = {}
    later: dict[str, Position] = {}

    @property
    def position(self) -> Position:
        """The newest position merged into this state."""
        return max(
            self.created or BEGINNING, self.deleted or BEGINNING, *self.later.values(), BEGINNING
        )

    @property
    def exists(self) -> bool:
        if self.deleted is None:
            return self.created is not None or bool(filled(self.values))
        return self.created is not None and self.created > self.deleted

    def set_at(self, name: str) -> Position:
        """Return the position that set this field."""
        return self.later.get(name) or self.created or BEGINNING

    def product(self, product_id: str) -> Product | None:
        """Return the product, or None where it is deleted or was never made."""
        return Product.from_fields(product_id, self.values) if self.exists else None


NOTHING = ProductState()


def state_of(event: ProductEvent, position: Position) -> ProductState:
    """Return the state that this one event alone makes."""
    match event.type:
        case EventType.DELETE:
            return ProductState(deleted=position)
        case EventType.CREATE:
            return ProductState(created=position, values=filled(event.fields))
        case EventType.UPDATE:
            later: dict[str, Position] = dict.fromkeys(event.fields, position)
            return ProductState(values=event.fields, later=later)


def merge(one: ProductState, other: ProductState) -> ProductState:
    """Return what both states together say. Commutative, associative, idempotent."""
    if other in (one, NOTHING):
        return one
    if one == NOTHING:
        return other
    created = _newer(one.created, other.created)
    deleted = _newer(one.deleted, other.deleted)
    # A create or a delete says something of every field: what is older is gone.
    floor = _newer(created, deleted) or BEGINNING
    values: Fields = {}
    later: dict[str, Position] = {}
    for name in one.values | other.values:
        at, _, value = max(_claims(name, one, other))
        if at >= floor:
            values[name] = value
            if at != created:
                later[name] = at
    return ProductState(created=created, deleted=deleted, values=values, later=later)


def _claims(name: str, *states: ProductState) -> Iterator[tuple[Position, str, FieldValue]]:
    """Yield who set the field to what, to be compared.

    One position sets one value; the value only decides between streams that were mixed up.
    """
    for state in states:
        if name in state.values:
            yield state.set_at(name), repr(state.values[name]), state.values[name]


def states_of(events: Iterable[tuple[Position, ProductEvent]]) -> dict[str, ProductState]:
    """Return what the events say of each of their products."""
    states: dict[str, ProductState] = {}
    for position, event in events:
        state = state_of(event, position)
        earlier = states.get(event.product_id)
        states[event.product_id] = state if earlier is None else merge(earlier, state)
    return states


def _newer(one: Position | None, other: Position | None) -> Position | None:
    return max(one or BEGINNING, other or BEGINNING) if one or other else None
