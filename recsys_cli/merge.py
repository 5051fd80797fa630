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

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from recsys_cli.domain import (
    BEGINNING,
    EventType,
    FieldValue,
    Position,
    Product,
    ProductEvent,
)


class FieldState(NamedTuple):
    """A field's newest value and who set it; None is a field that was emptied."""

    value: FieldValue
    position: Position

    def _rank(self) -> tuple[Position, str]:
        # One position sets one value; the value only decides between streams that were mixed up.
        return self.position, repr(self.value)


class ProductState(msgspec.Struct, frozen=True, kw_only=True):
    """All that the seen events say of one product; ``created``, ``deleted``: None when not seen."""

    created: Position | None = None
    deleted: Position | None = None
    fields: dict[str, FieldState] = msgspec.field(default_factory=dict)

    @property
    def position(self) -> Position:
        """The newest position merged into this state."""
        return max(
            self.created or BEGINNING,
            self.deleted or BEGINNING,
            *(field.position for field in self.fields.values()),
            BEGINNING,
        )

    @property
    def exists(self) -> bool:
        if self.deleted is None:
            return self.created is not None or any(
                field.value is not None for field in self.fields.values()
            )
        return self.created is not None and self.created > self.deleted

    def product(self, product_id: str) -> Product | None:
        """Return the product, or None where it is deleted or was never made."""
        if not self.exists:
            return None
        return Product.from_fields(
            product_id, {name: field.value for name, field in self.fields.items()}
        )


NOTHING = ProductState()


def state_of(event: ProductEvent, position: Position) -> ProductState:
    """Return the state that this one event alone makes."""
    match event.type:
        case EventType.DELETE:
            return ProductState(deleted=position)
        case EventType.CREATE:
            present = {n: v for n, v in event.fields.items() if v is not None}
            return ProductState(created=position, fields=_at(position, present))
        case EventType.UPDATE:
            return ProductState(fields=_at(position, event.fields))


def merge(one: ProductState, other: ProductState) -> ProductState:
    """Return what both states together say. Commutative, associative, idempotent."""
    created = _newer(one.created, other.created)
    deleted = _newer(one.deleted, other.deleted)
    fields = dict(one.fields)
    for name, field in other.fields.items():
        mine = fields.get(name)
        if mine is None or field._rank() > mine._rank():
            fields[name] = field
    # A create or a delete says something of every field: what is older is gone.
    floor = _newer(created, deleted) or BEGINNING
    return ProductState(
        created=created,
        deleted=deleted,
        fields={name: field for name, field in fields.items() if field.position >= floor},
    )


def states_of(events: Iterable[tuple[Position, ProductEvent]]) -> dict[str, ProductState]:
    """Return what the events say of each of their products."""
    states: dict[str, ProductState] = {}
    for position, event in events:
        earlier = states.get(event.product_id, NOTHING)
        states[event.product_id] = merge(earlier, state_of(event, position))
    return states


def _at(position: Position, fields: Mapping[str, FieldValue]) -> dict[str, FieldState]:
    return {name: FieldState(value, position) for name, value in fields.items()}


def _newer(one: Position | None, other: Position | None) -> Position | None:
    return max(one or BEGINNING, other or BEGINNING) if one or other else None
