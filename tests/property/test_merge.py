"""Whatever the order, the repetition and the grouping: states agree with the stream's order."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.catalogs import codec
from recsys_cli.domain import EventType, Fields, Position, Product, ProductEvent
from recsys_cli.merge import NOTHING, ProductState, merge, state_of

values = st.one_of(st.none(), st.sampled_from(["x", "y", ""]).filter(bool))
fields = st.dictionaries(st.sampled_from(["name", "description", "brand"]), values, max_size=3)


@st.composite
def events(draw: st.DrawFn) -> ProductEvent:
    kind = draw(st.sampled_from(EventType))
    changed: Fields = dict(draw(fields))
    if kind is EventType.CREATE:
        changed = {name: value for name, value in changed.items() if value is not None}
    if kind is not EventType.DELETE and draw(st.booleans()):
        changed["price"] = float(draw(st.integers(0, 3)))
    return ProductEvent(
        type=kind, product_id="p", fields={} if kind is EventType.DELETE else changed
    )


streams = st.lists(events(), max_size=8)


def numbered(stream: list[ProductEvent]) -> list[ProductState]:
    return [state_of(event, Position(number, 0)) for number, event in enumerate(stream, start=1)]


def joined(states: list[ProductState]) -> ProductState:
    result = NOTHING
    for state in states:
        result = merge(result, state)
    return result


def in_stream_order(stream: list[ProductEvent]) -> Product | None:
    """Apply the events one after the other, as plainly as it can be said."""
    product: Fields | None = None
    was_deleted = False
    for event in stream:
        match event.type:
            case EventType.CREATE:
                product, was_deleted = dict(event.fields), False
            case EventType.DELETE:
                product, was_deleted = None, True
            case EventType.UPDATE:
                if not was_deleted:
                    product = (product or {}) | event.fields
    present = {name: value for name, value in (product or {}).items() if value is not None}
    has_create = any(event.type is EventType.CREATE for event in stream)
    if product is None or (not present and not has_create):
        return None
    return Product.from_fields("p", present)


@given(streams)
def test_states_say_what_the_stream_says(stream: list[ProductEvent]) -> None:
    assert joined(numbered(stream)).product("p") == in_stream_order(stream)


@given(streams, st.randoms(use_true_random=False), st.integers(0, 5))
def test_order_and_repetition_make_no_difference(
    stream: list[ProductEvent], rng: random.Random, repeated: int
) -> None:
    states = numbered(stream)
    shuffled = states + [rng.choice(states) for _ in range(repeated if states else 0)]
    rng.shuffle(shuffled)
    assert joined(shuffled) == joined(states)


@given(streams, streams, streams)
def test_grouping_makes_no_difference(
    one: list[ProductEvent], two: list[ProductEvent], three: list[ProductEvent]
) -> None:
    a, b, c = (joined(part) for part in split(one, two, three))
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b) == merge(b, a)
    assert merge(a, a) == a
    assert merge(a, NOTHING) == a


def split(*streams: list[ProductEvent]) -> list[list[ProductState]]:
    """Deal one stream's positions out to several consumers, in turn."""
    return [
        [
            state_of(event, Position(1 + number * len(streams) + part, 0))
            for number, event in enumerate(stream)
        ]
        for part, stream in enumerate(streams)
    ]


@given(streams)
def test_stored_states_come_back_and_equal_states_are_equal_bytes(
    stream: list[ProductEvent],
) -> None:
    states = numbered(stream)
    state = joined(states)
    raw = codec.encode(state)
    assert codec.decode("p", raw) == state
    assert codec.encode(joined(states[::-1])) == raw


def test_positions_are_ordered_as_numbers() -> None:
    assert Position.parse("9-10") < Position.parse("10-9")
    assert Position.parse("10-9") < Position.parse("10-10")
    assert str(Position.parse("1732400000000-3")) == "1732400000000-3"
