"""Catalog and index are a function of the stream: how it was consumed leaves no trace."""

from __future__ import annotations

import re

import pytest

from recsys_cli.domain import EventType, Fields, ProductEvent
from recsys_cli.generations import Generation
from recsys_cli.merge import state_of
from recsys_cli.pipeline.embed import Target, embed_states
from recsys_cli.pipeline.model import SharedModels
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys
from tests.shops import EVENT_SHOPS

pytestmark = pytest.mark.parametrize("recsys", EVENT_SHOPS, indirect=True)


def counted(recsys: Recsys) -> dict[str, int]:
    """Drain, and return what the status line counts."""
    said = recsys("consume", "--drain", "--batch-size", 50).err.splitlines()[-1]
    return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)(?:,|$)", said)}


def test_several_events_of_one_product_in_a_batch_cost_one_embedding(recsys: Recsys) -> None:
    recsys("product", "put", "p1", "--name", "Desk lamp", "--price", "10")
    for number in range(5):
        recsys("product", "update", "p1", "--name", f"Desk lamp {number}")
    counts = counted(recsys)
    assert (counts["processed"], counts["embedded"]) == (6, 1)


def test_a_price_changes_what_is_shown_and_filtered_and_embeds_nothing(recsys: Recsys) -> None:
    for number in range(3):
        recsys("product", "put", f"p{number}", "--name", f"Desk lamp {number}", "--price", "10")
    counted(recsys)
    recsys("product", "update", "p1", "--price", "99")

    counts = counted(recsys)

    assert (counts["embedded"], counts["refreshed"]) == (0, 1)
    (dear,) = recsys("similar", "p0", "--price-min", 50, "--json").json["neighbors"]
    assert (dear["product_id"], dear["price"]) == ("p1", 99.0)


@pytest.fixture
def backends(recsys: Recsys) -> Backends:
    recsys("product", "put", "other", "--name", "A kettle of steel")
    recsys("consume", "--drain")
    return Backends(load())


def test_a_slow_consumer_cannot_overwrite_a_newer_embedding(
    recsys: Recsys, backends: Backends
) -> None:
    events, catalog = backends.get_event_processor(), backends.get_catalog()
    vectors = backends.get_vector_store()
    model = SharedModels(events, catalog, backends.get_model_factory()).current()
    targets = [Target(Generation(), vectors, model)]

    def event(kind: EventType, **fields: str) -> ProductEvent:
        return ProductEvent(type=kind, product_id="p", fields=Fields(fields))

    changes = [
        event(EventType.CREATE, name="Desk lamp"),
        event(EventType.UPDATE, name="Camping tent"),
        event(EventType.DELETE),
    ]
    positions = events.publish(changes)
    states = [state_of(change, at) for change, at in zip(changes, positions, strict=True)]

    # Newest first: each of the others is a consumer that was stopped for a while.
    for newest, state in ((1, states[1]), (1, states[0]), (2, states[2]), (2, states[1])):
        merged = catalog.merge({"p": state})
        # What the slow one had in hand when it was stopped, not what it would read now.
        held = {"p": state} if newest == 2 else merged
        embed_states(held, catalog, targets, lambda: targets)
        stored = vectors.stored(["p"])
        if newest == 1:
            assert stored["p"].text_digest == model.text_digest(
                catalog.get(["p"])["p"].product("p")  # type: ignore[arg-type]
            )
            assert catalog.get(["p"])["p"].values["name"] == "Camping tent"
        else:
            assert stored == {}
    recsys("consume", "--drain")
    assert "no product 'p'" in recsys("product", "show", "p", exits=4).err
    backends.close()


def test_what_was_flushed_behind_a_consumer_is_put_back(backends: Backends) -> None:
    catalog, vectors = backends.get_catalog(), backends.get_vector_store()
    events = backends.get_event_processor()
    model = SharedModels(events, catalog, backends.get_model_factory()).current()
    targets = [Target(Generation(), vectors, model)]
    event = ProductEvent(type=EventType.CREATE, product_id="new", fields={"name": "Desk lamp"})
    (position,) = events.publish([event])

    # Merged, then gone from the catalog before the embedding was written.
    embed_states({"new": state_of(event, position)}, catalog, targets, lambda: targets)

    assert catalog.get(["new"]) == {"new": state_of(event, position)}
    assert vectors.get(["new"]).keys() == {"new"}
    backends.close()
