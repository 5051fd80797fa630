"""The stored form of a product's state: canonical JSON, small where nothing was merged.

    {"c": "17-0", "d": "9-0", "f": {"name": "Lamp", "price": 9.5}, "p": {"price": "18-0"}}

``c`` and ``d`` are the newest create and delete, ``f`` the fields, ``p`` the position of each field
that the create did not set. Keys are sorted, so equal states are equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from recsys_cli.cleaning import MAX_PRODUCT_BYTES
from recsys_cli.domain import Fields, Position, Product
from recsys_cli.errors import InvalidData, InvalidProduct
from recsys_cli.merge import ProductState, merge

MAX_STATE_BYTES = 4 * MAX_PRODUCT_BYTES
"""Updates with ever more fields could make a product grow without end."""


class _Stored(msgspec.Struct, omit_defaults=True):
    c: str | None = None
    d: str | None = None
    f: Fields = {}
    p: dict[str, str] = {}


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(_Stored)


def encode(state: ProductState) -> bytes:
    """Return the canonical bytes of a state. Raises InvalidProduct where it is too large."""
    raw = _encoder.encode(
        _Stored(
            c=state.created and str(state.created),
            d=state.deleted and str(state.deleted),
            f=state.values,
            p={name: str(at) for name, at in state.later.items()},
        )
    )
    if len(raw) > MAX_STATE_BYTES:
        raise InvalidProduct(f"the product would be {len(raw)} bytes; at most {MAX_STATE_BYTES}")
    return raw


def decode(product_id: str, raw: bytes) -> ProductState:
    """Return the state that :func:`encode` made ``raw`` from. Raises InvalidData."""
    try:
        if len(raw) > MAX_STATE_BYTES:
            raise ValueError(f"{len(raw)} bytes; at most {MAX_STATE_BYTES}")
        return _state(_decoder.decode(raw))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidData(
            f"the state of product {product_id!r} in the catalog is damaged: {error}",
            hint="delete that entry of the catalog, and import the product again",
        ) from error


def merged(product_id: str, raw: bytes | None, change: ProductState) -> tuple[ProductState, bytes]:
    """Return the stored state, None where there is none, with the change merged in; and its bytes.

    Raises InvalidData and InvalidProduct, as the two above.
    """
    new = encode(change)
    if raw is None or raw == new:
        return change, new
    state = merge(decode(product_id, raw), change)
    return state, encode(state)


def changed(
    states: Mapping[str, ProductState], stored: Mapping[str, bytes | None]
) -> dict[str, ProductState | None]:
    """Return what is stored where that is another state; None where nothing is.

    Raises InvalidData.
    """
    raws = ((i, stored.get(i)) for i, state in states.items() if stored.get(i) != encode(state))
    return {i: None if raw is None else decode(i, raw) for i, raw in raws}


def decode_product(product_id: str, raw: bytes) -> Product | None:
    """Return the product, None where there is none in this state, or it cannot be read."""
    try:
        return decode(product_id, raw).product(product_id)
    except InvalidData:
        return None


def _state(stored: _Stored) -> ProductState:
    if isinstance(price := stored.f.get("price"), str):
        raise ValueError(f"the price is {price[:60]!r}")
    return ProductState(
        created=Position.parse(stored.c) if stored.c else None,
        deleted=Position.parse(stored.d) if stored.d else None,
        values=stored.f,
        later={name: Position.parse(text) for name, text in stored.p.items()},
    )
