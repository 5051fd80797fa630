from __future__ import annotations

import unicodedata
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.cleaning import clean_fields, clean_id
from recsys_cli.deliveries import DeadLetter, LostEvent, UndecodableEvent
from recsys_cli.domain import EventType, Position, ProductEvent
from recsys_cli.errors import InvalidProduct
from recsys_cli.events.codec import FIELDS, decode, delivery, place

values = st.one_of(st.text(), st.none(), st.integers(), st.booleans(), st.floats(allow_nan=False))
ids = st.text(min_size=1, max_size=60).filter(lambda text: clean_or_none(text) is not None)
raws = st.dictionaries(
    st.sampled_from([name.encode() for name in (*FIELDS, "other")]),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"create", b"update", b"delete", b"{}", b"5-1", b"99-0", b"7", b"-1-2"]),
    ),
)


def clean_or_none(text: str) -> str | None:
    try:
        return clean_id(text)
    except InvalidProduct:
        return None


@given(ids, st.sampled_from(EventType), st.dictionaries(st.text(), values, max_size=6))
def test_what_is_encoded_comes_back(
    raw_id: str, event_type: EventType, raw_fields: dict[str, object]
) -> None:
    raw_fields.pop("id", None)
    raw_fields["price"] = 12.5
    fields = {} if event_type is EventType.DELETE else clean_fields(raw_fields)
    event = ProductEvent(type=event_type, product_id=clean_id(raw_id), fields=fields)

    wire = {name.encode(): value.encode() for name, value in event.as_text().items()}

    assert decode(wire) == event


@given(raws)
def test_any_entry_is_an_event_or_a_reason_or_nothing(raw: dict[bytes, bytes]) -> None:
    decoded = decode(raw)
    if b"event_type" not in raw and b"product_id" not in raw:
        assert decoded is None
    else:
        assert isinstance(decoded, ProductEvent | UndecodableEvent)


@given(st.recursive(values, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_value_is_clean_text_or_a_reason(value: object) -> None:
    assert clean_fields({"x": value})["x"] is None or isinstance(
        clean_fields({"x": value})["x"], str
    )
    with suppress(InvalidProduct):
        price = clean_fields({"price": value})["price"]
        assert price is None or (isinstance(price, float) and price >= 0)


def test_spellings_of_one_name_are_one() -> None:
    composed = unicodedata.normalize("NFC", "Đèn bàn học")
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    assert clean_fields({"name": decomposed}) == clean_fields({"name": composed})
    assert clean_id(decomposed) == clean_id(composed)


@given(raws)
def test_nothing_counts_later_than_where_it_stands(raw: dict[bytes, bytes]) -> None:
    assert Position(0, 0) <= place(raw, "10-3") <= Position(10, 3)
    made = delivery(raw, entry_id="10-3", consumer="c", attempt=1)
    assert made is None or made.position <= Position(10, 3)


@given(raws, st.integers(1, 4))
def test_however_often_an_event_is_replayed_it_stays_the_same_event(
    raw: dict[bytes, bytes], times: int
) -> None:
    first = delivery(raw, entry_id="10-3", consumer="c", attempt=1)
    if first is None or "not UTF-8" in getattr(first.event, "reason", ""):
        return  # The latter is kept as a transcript, and not replayed.
    now = first
    for number in range(times):
        letter = DeadLetter(
            entry_id=now.entry_id,
            raw=now.raw,
            cause="test",
            error="oh",
            attempts=5,
            first_failed_at="",
            last_failed_at="",
        )
        wire = {name.encode(): value.encode() for name, value in letter.as_replayed.items()}
        again = delivery(wire, entry_id=f"{20 + number}-0", consumer="c", attempt=1)
        assert again is not None
        assert again.replays == now.replays + 1
        now = again
    if isinstance(first.event, ProductEvent):
        assert (now.event, now.position) == (first.event, first.position)
    else:
        assert isinstance(now.event, UndecodableEvent)


def test_an_entry_whose_body_is_gone_is_lost() -> None:
    lost = delivery(None, entry_id="10-3", consumer="c", attempt=2)
    assert lost is not None
    assert isinstance(lost.event, LostEvent)
    assert lost.raw == {}
