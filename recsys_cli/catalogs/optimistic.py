"""Merging into a store that swaps values: what was read is merged, and put where it still is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from recsys_cli.catalogs import codec
from recsys_cli.merge import NOTHING, ProductState

Swaps = Mapping[str, tuple[bytes | None, bytes]]
"""By product: the value that has to be there, None for none, and the one to put in its place."""


def merge(
    changes: Mapping[str, ProductState],
    known: Mapping[str, ProductState] | None,
    read: Callable[[Sequence[str]], Mapping[str, bytes | None]],
    swap: Callable[[Swaps], Sequence[str]],
) -> dict[str, ProductState]:
    """Merge as ports.Catalog says; ``swap`` returns the products whose value was another.

    Those are read and merged again: each time somebody else has succeeded with one of them.
    """
    known = known or {}
    seen = {i: _encode(known[i]) for i in changes if i in known}
    seen |= read([i for i in changes if i not in known])
    results: dict[str, ProductState] = {}
    while seen:
        swaps: dict[str, tuple[bytes | None, bytes]] = {}
        for product_id, raw in seen.items():
            state, new = codec.merged(product_id, raw, changes[product_id])
            results[product_id] = state
            # What was read just now and stays as it is need not be written.
            if new != raw or product_id in known:
                swaps[product_id] = raw, new
        seen = dict(read(swap(swaps)))
    return results


def _encode(state: ProductState) -> bytes | None:
    return None if state == NOTHING else codec.encode(state)
