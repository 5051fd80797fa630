"""The table of generations as a document: whatever is done to it, one serves, under one lock."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.domain import IndexSpec
from recsys_cli.errors import InvalidData, LockHeld
from recsys_cli.generations import FIRST, Generation, GenerationState, serving
from recsys_cli.vectors import generation_table as table
from recsys_cli.vectors.generation_table import Table

SPEC = IndexSpec(dimension=16)
START = table.decoded(None, name="n", dimension=16)


def building(now_ms: int = 0) -> tuple[Table, int, int]:
    """A table with a second generation in the making, its token and its number."""
    locked = table.locked(START, "run", now_ms, 1000)
    after = begun(locked, locked.token, now_ms)
    return after, locked.token, after.last_number


def begun(doc: Table, token: int, now_ms: int) -> Table:
    doc = table.numbered(doc, token, now_ms)
    new = Generation(number=doc.last_number, state=GenerationState.BUILDING, spec=SPEC)
    return table.noted(doc, token, now_ms, new)


def test_in_the_beginning_the_first_serves_without_an_index() -> None:
    assert Table(generations=[Generation(spec=SPEC)]) == START
    assert START.indexes == []
    assert table.decoded(table.encoded(START), name="n", dimension=99) == START


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"generations": 3}', b"\xff"])
def test_what_is_no_table_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(InvalidData, match="'my note' holds no table"):
        table.decoded(raw, name="my note", dimension=16)


def test_a_lock_is_held_until_it_expires() -> None:
    first = table.locked(START, "run", 100, 50)
    with pytest.raises(LockHeld, match="run"):
        table.locked(first, "other", 149, 50)
    table.held(first, first.token, 149)
    with pytest.raises(LockHeld, match="lost"):
        table.held(first, first.token, 150)
    second = table.locked(first, "other", 150, 50)
    assert second.token > first.token
    with pytest.raises(LockHeld, match="lost"):
        table.renewed(second, first.token, 160, 50)
    assert table.unlocked(second, first.token) is second
    table.locked(table.unlocked(second, second.token), "third", 151, 50)


def test_what_nobody_builds_any_more_is_unfinished() -> None:
    doc, _, number = building()
    states = {g.number: g.state for g in table.seen_by_all(doc, 999)}
    assert states == {FIRST: GenerationState.SERVING, number: GenerationState.BUILDING}
    states = {g.number: g.state for g in table.seen_by_all(doc, 1000)}
    assert states[number] is GenerationState.UNFINISHED


def test_the_one_that_served_is_kept() -> None:
    doc, token, number = building()
    after = table.served(doc, token, 1, number)
    assert serving(after.generations).number == number
    kept = table.find(after, FIRST)
    assert kept is not None
    assert kept.state is GenerationState.KEPT


def test_a_generation_that_was_dropped_does_not_come_back_with_its_index() -> None:
    doc, token, number = building()
    indexed = table.with_index(doc, number, SPEC)
    assert indexed.indexes == [number]
    gone = table.dropped(indexed, token, 1, number)
    assert gone.indexes == []
    assert table.with_index(gone, number, SPEC) == gone


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["lock", "unlock", "renew", "begin", "serve", "drop", "index"]),
        st.integers(0, 4),
        st.integers(0, 40),
    ),
    max_size=30,
)


@given(steps=STEPS)
def test_whatever_is_done_one_serves_and_no_token_or_number_comes_twice(
    steps: list[tuple[str, int, int]],
) -> None:
    now, doc = 0, START
    tokens: list[int] = []
    numbers = [FIRST]
    for what, which, passes in steps:
        now += passes
        token = tokens[-1 - which % len(tokens)] if tokens else 0
        number = which + 1
        before = doc
        with contextlib.suppress(LockHeld, ValueError):
            match what:
                case "lock":
                    doc = table.locked(doc, "run", now, 50)
                    tokens.append(doc.token)
                case "unlock":
                    doc = table.unlocked(doc, token)
                case "renew":
                    doc = table.renewed(doc, token, now, 50)
                case "begin":
                    doc = begun(doc, token, now)
                    numbers.append(doc.last_number)
                case "serve":
                    doc = table.served(doc, token, now, number)
                case "drop" if number != serving(doc.generations).number:
                    doc = table.dropped(doc, token, now, number)
                case "index":
                    doc = table.with_index(doc, number, SPEC)
        if doc is not before and what in ("renew", "begin", "serve", "drop"):
            assert token == doc.token, "only who holds the lock changes anything"
        assert serving(doc.generations).number in numbers
        assert {*doc.indexes} <= {g.number for g in doc.generations}
        assert doc == table.decoded(table.encoded(doc), name="n", dimension=16)
    assert tokens == sorted(set(tokens))
    assert numbers == sorted(set(numbers))
