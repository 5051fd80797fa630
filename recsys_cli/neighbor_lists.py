"""The closest products of a product, as a batch job leaves them for others to read."""

from __future__ import annotations

import msgspec


class CloseProduct(msgspec.Struct, frozen=True):
    """``score``: the cosine, -1 to 1."""

    product_id: str
    score: float


class NeighborList(msgspec.Struct, frozen=True):
    """A product and its neighbors, the closest first."""

    product_id: str
    neighbors: list[CloseProduct]
