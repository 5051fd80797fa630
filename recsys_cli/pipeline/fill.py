"""Bring a generation up to the catalog while consumers write live events to it as well.

Every product goes the consumers' way: written, then looked at again. So whoever is last, this run
or a consumer, has seen the newest state, and it does not matter where a killed run stopped: what
is there already is only compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from recsys_cli.batches import batched
from recsys_cli.domain import StoredEmbedding
from recsys_cli.merge import ProductState
from recsys_cli.pipeline.embed import Target, embed_states
from recsys_cli.ports import Catalog

PAGE = 500


@dataclass
class Filled:
    """What filling did. ``wordless``: products that no embedding can be made of."""

    products: int = 0
    written: int = 0
    wordless: int = 0
    orphans: int = 0


@dataclass(frozen=True)
class Pace:
    """How many products at a time, and per second at the most; None: as fast as it goes."""

    batch_size: int = PAGE
    rate_limit: float | None = None


def fill(
    target: Target, catalog: Catalog, pace: Pace, progress: Callable[[Filled], None]
) -> Filled:
    """Embed what the generation lacks, and remove what the catalog no longer has."""
    done = Filled()
    for product_ids in _paced(catalog, pace):
        states = catalog.get(product_ids)
        lacking = _lacking(states, target)
        embed_states(lacking, catalog, [target], lambda: [target])
        done.products += len(product_ids)
        done.written += len(lacking)
        done.wordless += len(lacking.keys() - target.vectors.stored(list(lacking)).keys())
        progress(done)
    done.orphans = remove_orphans(target, catalog)
    return done


def remove_orphans(target: Target, catalog: Catalog) -> int:
    """Remove the embeddings of products that the catalog does not have; return how many."""
    removed = 0
    for entries in target.vectors.entries():
        states = catalog.get([entry.product_id for entry in entries])
        gone = {
            entry.product_id: entry.source.position
            for entry in entries
            if entry.product_id not in states or not states[entry.product_id].exists
        }
        target.vectors.remove(gone)
        # Created again meanwhile: not every store can compare positions as it removes.
        back = {i: state for i, state in catalog.get(list(gone)).items() if state.exists}
        embed_states(back, catalog, [target], lambda: [target])
        removed += len(gone)
    return removed


def missing(target: Target, catalog: Catalog) -> Iterator[str]:
    """Yield the products that have words, and no embedding in the generation."""
    for products in batched(catalog.products(), PAGE):
        stored = target.vectors.stored([product.id for product in products])
        absent = [product for product in products if product.id not in stored]
        if absent:
            rows = target.model.embed(absent)
            yield from (p.id for p, row in zip(absent, rows, strict=True) if row.any())


def embed_missing(target: Target, catalog: Catalog) -> list[str]:
    """Embed what came in since the filling; return what is missing all the same."""
    left = []
    for product_ids in batched(missing(target, catalog), PAGE):
        embed_states(catalog.get(product_ids), catalog, [target], lambda: [target])
        stored, states = target.vectors.stored(product_ids), catalog.get(product_ids)
        left += [i for i in product_ids if i not in stored and i in states and states[i].exists]
    return left


def _lacking(states: Mapping[str, ProductState], target: Target) -> dict[str, ProductState]:
    stored = target.vectors.stored(list(states))
    return {
        product_id: state
        for product_id, state in states.items()
        if not _is_current(stored.get(product_id), state, target)
    }


def _is_current(stored: StoredEmbedding | None, state: ProductState, target: Target) -> bool:
    return (
        stored is not None
        and state.exists
        and stored.position == state.position
        and stored.model_version == target.model.version
    )


def _paced(catalog: Catalog, pace: Pace) -> Iterator[list[str]]:
    ids: Iterable[str] = (product.id for product in catalog.products())
    started, handed_out = time.monotonic(), 0
    for chunk in batched(ids, pace.batch_size):
        yield chunk
        handed_out += len(chunk)
        if pace.rate_limit is not None:
            ahead_s = handed_out / pace.rate_limit - (time.monotonic() - started)
            time.sleep(max(0.0, ahead_s))
