"""An embedding as a record of Pinecone, and back; filters; ids."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.connections.pinecone import Record, key_of
from recsys_cli.domain import (
    BEGINNING,
    Position,
    ProductMetadata,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.ports import Embedding
from recsys_cli.vectors import pinecone_records as records
from tests.pinecone_planes import passes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAME = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
ROW = np.asarray([0.6, 0.8], np.float32)
MOST_BYTES = 40_960


def entry(product_id: str, metadata: ProductMetadata, at: Position = BEGINNING) -> Embedding:
    return Embedding(
        product_id,
        ROW,
        metadata,
        StoredEmbedding(position=at, model_version="m", text_digest="d"),
        "now",
    )


metadata = st.builds(
    ProductMetadata,
    name=TEXT,
    category=TEXT,
    price=st.none() | st.floats(0, 1e9),
    attributes=st.dictionaries(NAME, TEXT, max_size=4),
)


@given(
    product_id=TEXT.filter(bool),
    shown=metadata,
    major=st.integers(0, 2**53),
    minor=st.integers(0, 99),
)
def test_what_is_kept_comes_back(
    product_id: str, shown: ProductMetadata, major: int, minor: int
) -> None:
    one = entry(product_id, shown, Position(major, minor))
    kept = records.record(one, [0.6, 0.8])
    assert None not in kept.metadata.values()
    back = records.embedding(kept, list(shown.attributes))
    assert back._replace(vector=None) == one._replace(vector=None)
    assert back.vector is not None
    np.testing.assert_array_equal(back.vector, ROW)


@given(
    name=st.integers(0, 50_000),
    category=st.integers(0, 50_000),
    attributes=st.lists(st.integers(0, 50_000), max_size=3),
    letter=st.sampled_from(["x", "ệ", "🧸", '"', "\n"]),
)
def test_it_is_never_too_large(
    name: int, category: int, attributes: list[int], letter: str
) -> None:
    shown = ProductMetadata(
        name=letter * name,
        category=letter * category,
        attributes={f"a{n}": letter * length for n, length in enumerate(attributes)},
    )
    kept = records.record(entry("p", shown), [0.6, 0.8]).metadata
    assert len(msgspec.json.encode(kept)) <= MOST_BYTES
    assert (kept["name"], kept["category"]) == (shown.name[:2000], shown.category[:2000])
    whole = {f"attribute_{key}": value for key, value in shown.attributes.items()}
    left_out = whole.keys() - kept.keys()
    assert all(kept[key] == whole[key] for key in whole.keys() - left_out)
    assert all(
        len(whole[out]) >= len(whole[key]) for out in left_out for key in whole.keys() & kept.keys()
    )


def test_what_others_wrote_is_read_as_far_as_it_goes() -> None:
    foreign = Record("their-id", [0.6, 0.8], {"name": 7, "price": "dear", "position": "x"}, 1.5)
    found = records.embedding(foreign, ["brand"])
    assert (found.product_id, found.metadata) == ("their-id", ProductMetadata())
    assert found.source == StoredEmbedding(position=BEGINNING, model_version="", text_digest="")
    assert records.neighbor(foreign).similarity_score == 1.0
    assert records.neighbor(foreign._replace(score=-1.5)).similarity_score == -1.0


@given(
    shown=metadata,
    where=st.builds(
        SearchFilter,
        category=st.none() | TEXT,
        exclude_categories=st.lists(TEXT, max_size=2).map(tuple),
        price_min=st.none() | st.floats(0, 1e9),
        price_max=st.none() | st.floats(0, 1e9),
        attributes=st.dictionaries(NAME, st.lists(TEXT, min_size=1, max_size=2).map(tuple)),
    ),
)
def test_a_filter_lets_through_what_it_says(shown: ProductMetadata, where: SearchFilter) -> None:
    kept = records.record(entry("p", shown), [0.6, 0.8]).metadata
    expected = (
        where.category in (None, shown.category)
        and shown.category not in where.exclude_categories
        and (
            where.price_min is None or (shown.price is not None and shown.price >= where.price_min)
        )
        and (
            where.price_max is None or (shown.price is not None and shown.price <= where.price_max)
        )
        and all(shown.attributes.get(name) in wanted for name, wanted in where.attributes.items())
    )
    assert passes(dict(kept), records.conditions(where) or {}) == expected


def test_a_category_too_long_to_keep_is_filtered_by_all_the_same() -> None:
    long = "Lamps " * 10_000
    kept = dict(records.record(entry("p", ProductMetadata(category=long)), [0.6, 0.8]).metadata)
    assert passes(kept, records.conditions(SearchFilter(category=long)) or {})
    assert not passes(kept, records.conditions(SearchFilter(exclude_categories=(long,))) or {})
    assert passes(kept, records.conditions(SearchFilter(exclude_categories=("Lamps",))) or {})


def test_no_filter_is_none() -> None:
    assert records.conditions(None) is None
    assert records.conditions(SearchFilter()) is None


@given(one=st.text(max_size=600), other=st.text(max_size=600))
def test_any_text_has_a_key_of_its_own_that_pinecone_takes(one: str, other: str) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)
    assert key_of(one).isascii()
    assert 0 < len(key_of(one)) <= 512


def test_a_plain_id_is_its_own_key() -> None:
    assert key_of("prod-123") == "prod-123"
    assert key_of("#" + "0" * 64) != "#" + "0" * 64, "it could be the key of another"
    assert key_of("x" * 512) == "x" * 512
