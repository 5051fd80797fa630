from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.seen import SeenIds


@given(st.lists(st.lists(st.text(max_size=3), max_size=20), max_size=20))
def test_it_behaves_like_a_set(chunks: list[list[str]]) -> None:
    seen, model = SeenIds(), set[str]()
    for chunk in chunks:
        expected = []
        for product_id in chunk:
            expected.append(product_id in model)
            model.add(product_id)
        assert seen.add(chunk) == expected
    assert len(seen) == len(model)
    assert all(seen.contains(sorted(model)))
    assert seen.contains(["never added"]) == ["never added" in model]


def test_a_million_ids_take_eight_megabytes() -> None:
    """Also while it grows: nothing is copied to make room, but one small shelf at a time."""
    count = 100_000
    tracemalloc.start()
    try:
        seen = SeenIds()
        for start in range(0, count, 1000):
            seen.add([f"product-{number}" for number in range(start, start + 1000)])
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(seen) == count
    assert kept < 8.8 * count
    assert peak < kept + 200_000
