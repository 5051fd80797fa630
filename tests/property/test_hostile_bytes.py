"""Any bytes at all, where a state, a model or an event should be: a value or one of our errors."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_cli.catalogs import codec as states
from recsys_cli.cleaning import MAX_PRODUCT_BYTES, clean_fields
from recsys_cli.domain import EventType, Position, ProductEvent
from recsys_cli.embedding import artifact
from recsys_cli.embedding.tfidf import TfidfFactory
from recsys_cli.errors import InvalidData, InvalidModel, InvalidProduct
from recsys_cli.events import codec as events
from recsys_cli.merge import ProductState, state_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
positions = st.sampled_from(["1-0", "1", "-1-0", "x", "1-", "9" * 5000, "", " 1-0", "1_0-0"])
state_like = st.fixed_dictionaries(
    {},
    optional={
        "c": positions | json_values,
        "d": positions | json_values,
        "f": st.dictionaries(st.sampled_from(["name", "price"]), json_values) | json_values,
        "p": st.dictionaries(st.sampled_from(["name", "price"]), positions) | json_values,
    },
)
header_like = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["tfidf", "other"]),
        "parameters": st.dictionaries(
            st.sampled_from(["recipe", "dimension", "products"]), st.integers()
        ),
        "arrays": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["occupied", "counts"]),
                    "dtype": st.sampled_from(["<u4", "|u1", "<f4", "|O", "O8", "<M8[ns]"]),
                    "length": st.integers(-2, 2**70),
                }
            ),
            max_size=3,
        ),
    }
)


def sealed(header: bytes, body: bytes) -> bytes:
    content = artifact.MAGIC + artifact.FORMAT_VERSION.to_bytes(4, "little")
    content += len(header).to_bytes(4, "little") + header + body
    return content + hashlib.sha256(content).digest()


@given(st.binary())
def test_any_bytes_are_a_state_or_invalid(raw: bytes) -> None:
    with suppress(InvalidData):
        assert isinstance(states.decode("p", raw), ProductState)


@given(state_like)
def test_anything_like_a_state_is_one_or_invalid(value: object) -> None:
    with suppress(InvalidData):
        state = states.decode("p", msgspec.json.encode(value))
        # Whatever is let in, all that is done with a state can be done with it.
        assert states.decode("p", states.encode(state)) == state
        state.product("p")


@given(header_like | json_values, st.binary(max_size=64))
def test_a_sealed_artifact_of_a_stranger_is_no_model(header: object, body: bytes) -> None:
    with pytest.raises(InvalidModel):
        TfidfFactory().load(sealed(msgspec.json.encode(header), body))


@given(st.binary())
def test_any_bytes_are_no_model(raw: bytes) -> None:
    for stranger in (raw, sealed(raw, b""), sealed(b"{}", raw)):
        with pytest.raises(InvalidModel):
            TfidfFactory().load(stranger)


def test_an_oversized_artifact_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = artifact.pack("toy", {}, {"a": np.zeros(100, "<u4")})
    monkeypatch.setattr(artifact, "MAX_BYTES", len(whole) - 1)
    with pytest.raises(InvalidModel, match=f"{len(whole)} bytes long"):
        artifact.unpack(whole)


def test_an_oversized_state_is_refused_both_ways() -> None:
    names = [f"field{number}" for number in range(5)]
    text = "x" * (MAX_PRODUCT_BYTES - 100)
    event = ProductEvent(type=EventType.CREATE, product_id="p", fields=dict.fromkeys(names, text))
    with pytest.raises(InvalidProduct, match=f"at most {states.MAX_STATE_BYTES}"):
        states.encode(state_of(event, Position(1, 0)))
    with pytest.raises(InvalidData, match=f"at most {states.MAX_STATE_BYTES}"):
        states.decode("p", b'{"f":{"name":"%s"}}' % (b"x" * states.MAX_STATE_BYTES))


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["x", "\x01", '"', "é", "語", "🧸", "\x7f", "\u2028"]),
    st.sampled_from([1_000, 100_000, 1_000_000]),
    st.booleans(),
)
def test_what_is_clean_fits_into_an_event(character: str, each: int, as_json: bool) -> None:
    """Else a product would be accepted, and its event given up as oversized."""
    size = len(msgspec.json.encode(character)) - 2 if as_json else 1
    count = MAX_PRODUCT_BYTES // (each * size) or 1
    fields = {str(number): character * (each - 20) for number in range(count)}
    try:
        clean = clean_fields(fields)
    except InvalidProduct:
        return
    event = ProductEvent(type=EventType.CREATE, product_id="p", fields=clean)
    raw = {name.encode(): value.encode() for name, value in event.as_text().items()}
    assert events.decode(raw) == event


def test_an_oversized_event_is_no_event() -> None:
    raw = {b"event_type": b"update", b"product_id": b"p"}
    room = events.MAX_EVENT_BYTES - sum(len(name) + len(value) for name, value in raw.items())
    largest = raw | {b"other": b"x" * (room - len(b"other"))}
    assert isinstance(events.decode(largest), ProductEvent)
    decoded = events.decode(largest | {b"other": largest[b"other"] + b"x"})
    assert getattr(decoded, "cause", "") == "oversized"
