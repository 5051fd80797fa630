"""The one assertion: catalog, index and dead letters are what the stream says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from recsys_cli.catalogs.codec import encode
from recsys_cli.deliveries import DeadLetter
from recsys_cli.domain import Product, ProductEvent
from recsys_cli.events.codec import decode, place
from recsys_cli.merge import NOTHING, ProductState, states_of
from recsys_cli.ports import EmbeddingModel, VectorStore
from recsys_cli.wiring import Backends
from tests.chaos.oracle import POISON, Entry, applied
from tests.chaos.world import AUDIT, World
from tests.servers import wait_until


def reckon(world: World, backends: Backends, count: Counter[str]) -> Iterator[str]:
    """Yield what is wrong; count what there was."""
    entries = world.entries()
    outcome = applied(entries)
    states = _merged(entries)
    count["products"] = len(outcome.products)
    count["dead letters"] = len(outcome.dead)

    ids = sorted(states)
    found = backends.get_catalog().get(ids)
    for product_id in ids:
        yield from _wrong_in_catalog(
            product_id, found.get(product_id, NOTHING), states, outcome.products.get(product_id)
        )
    products = [Product.from_fields(i, fields) for i, fields in outcome.products.items()]
    yield from _wrong_in_index(world, backends, products, states, ids)
    yield from _wrong_letters(list(backends.get_dead_letters().letters()), outcome.dead)
    yield from _left_over(backends)


def _merged(entries: list[Entry]) -> dict[str, ProductState]:
    good = [(i, e) for i, e in entries if not e["timestamp"].startswith(POISON)]
    raw = [(i, {n.encode(): v.encode() for n, v in e.items()}) for i, e in good]
    events = [(place(fields, i), decode(fields)) for i, fields in raw]
    return states_of((at, event) for at, event in events if isinstance(event, ProductEvent))


def _wrong_in_catalog(
    product_id: str,
    found: ProductState,
    states: dict[str, ProductState],
    fields: dict[str, str | float] | None,
) -> Iterator[str]:
    product = found.product(product_id)
    if (product and product.to_fields()) != fields:
        yield f"catalog: {product_id} is {product}, not {fields}"
    if encode(found) != encode(states[product_id]):
        yield f"catalog: {product_id} is stored as {encode(found)!r}"


def _wrong_in_index(
    world: World,
    backends: Backends,
    products: list[Product],
    states: dict[str, ProductState],
    ids: list[str],
) -> Iterator[str]:
    artifact = backends.get_catalog().active_model()
    if artifact is None:
        yield "there is no embedding model"
        return
    model = backends.get_model_factory().load(artifact)
    expected = {p.id: vector for p in products if (vector := model.embed([p])[0]).any()}
    vectors = backends.get_vector_store()
    stored, found = vectors.stored(ids), vectors.get(ids)
    by_id = {p.id: p for p in products}
    for product_id in ids:
        if found.keys() ^ expected.keys() and (product_id in found) != (product_id in expected):
            yield f"index: {product_id} is {'there' if product_id in found else 'missing'}"
        elif product_id in expected:
            product = by_id[product_id]
            if not np.array_equal(found[product_id], expected[product_id]):
                yield f"index: the vector of {product_id} is not that of {product}"
            if (source := stored[product_id]).position != states[product_id].position:
                yield f"index: {product_id} is from {source.position}"
            if world.shown(product_id) != (product.name, product.category, product.price):
                yield f"index: {product_id} shows {world.shown(product_id)}, not {product}"
    wait_until(lambda: _is_built(vectors), 120, "an index that was dropped late is built again")
    info = vectors.info()
    if info is None or info.documents != len(expected) or info.failures:
        yield f"index: {info} instead of {len(expected)} documents"
    yield from _mixed_models(model, info.model_versions if info else [])


def _is_built(vectors: VectorStore) -> bool:
    info = vectors.info()
    return info is None or info.documents == info.indexed


def _mixed_models(model: EmbeddingModel, versions: list[str]) -> Iterator[str]:
    if versions not in ([], [model.version]):
        yield f"index: vectors of {versions}, the model is {model.version}"


def _wrong_letters(letters: list[DeadLetter], poison: set[str]) -> Iterator[str]:
    tags = Counter(letter.raw.get("timestamp", "") for letter in letters)
    for tag in poison - tags.keys():
        yield f"dead letters: {tag} is missing"
    for tag, times in tags.items():
        if tag not in poison or times > 1:
            yield f"dead letters: {tag} {times} times"


def _left_over(backends: Backends) -> Iterator[str]:
    events = backends.get_event_processor()
    status = events.status()
    if status.pending or status.lag:
        yield f"left over: lag {status.lag}, pending {status.pending}"
    events.drop_group(AUDIT)
    if (length := events.status().length) > 1:
        yield f"left over: {length} entries on the stream that nobody needs"
