"""The ledger of a consumer group on NATS: sets of sequences as runs, and who holds what."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.events.nats_ledger import NOBODY, Hold, Ledger, Noted, Runs

MINE = Hold("me", 1_000, 1)
THEIRS = Hold("other", 900, 2)

small = st.integers(min_value=0, max_value=40)
spans = st.tuples(small, small).map(lambda pair: (min(pair), max(pair)))


def ledger(**holds: Hold) -> Ledger:
    """Return a ledger with these holds, sequence 7 as ``_7``."""
    made = Ledger("today")
    made.holds = {int(name[1:]): hold for name, hold in holds.items()}
    return made


@given(st.lists(spans))
def test_runs_hold_what_was_added_in_as_few_runs_as_can_be(added: list[tuple[int, int]]) -> None:
    runs, expected = Runs(), set[int]()
    for first, last in added:
        runs.add(first, last)
        expected |= set(range(first, last + 1))
    assert [number for number in range(42) if number in runs] == sorted(expected)
    ends = list(runs)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(ends))


@given(
    st.dictionaries(small, st.builds(Hold, st.sampled_from(["a", "b", NOBODY]), small, small)),
    st.lists(spans),
    st.dictionaries(st.text(max_size=3), small),
)
def test_a_ledger_comes_back_as_it_was(
    holds: dict[int, Hold], done: list[tuple[int, int]], seen: dict[str, int]
) -> None:
    written = Ledger("today")
    written.holds, written.seen = holds, seen
    for first, last in done:
        written.done.add(first, last)
    read = Ledger.decode(written.encode())
    assert (read.made, read.holds, read.seen) == ("today", holds, seen)
    assert list(read.done) == list(written.done)
    assert read.encode() == written.encode()


def test_a_ledger_that_cannot_be_read_is_empty() -> None:
    for garbled in (b"", b"{", b"[1]", b'{"holds": 3}', b"\xff"):
        assert Ledger.decode(garbled).encode() == Ledger("").encode()


def test_the_largest_ledger_there_can_be_fits_into_a_message() -> None:
    from recsys_cli.events.nats_group import MOST_HELD

    first = 1_795_616_323_085_123
    full = Ledger("2026-11-25T14:25:00.306900433Z")
    for number in range(MOST_HELD):
        # Each by itself, and something done between any two.
        full.holds[first + 2 * number] = Hold(f"worker-{number % 50}-of-a-host", number, 9)
        full.done.add(first + 2 * number + 1, first + 2 * number + 1)
    assert len(full.encode()) < 1_000_000


def test_new_messages_are_taken_and_no_events_are_done() -> None:
    fresh = ledger()
    assert fresh.note({1: 1, 2: 1, 3: 1}, {2}, MINE, 1_000) == Noted([1, 3], [2])
    assert fresh.holds == {1: MINE, 3: MINE}
    assert 2 in fresh.done


def test_what_is_held_by_others_is_left_alone() -> None:
    held = ledger(_1=THEIRS)
    assert held.note({1: 3}, set(), MINE, 1_000) == Noted([], [])
    assert held.holds == {1: THEIRS}


def test_what_is_done_is_to_be_acknowledged_again() -> None:
    held = ledger()
    held.done.add(1, 5)
    assert held.note({3: 2, 6: 1}, set(), MINE, 1_000) == Noted([6], [3])


def test_what_was_noted_before_its_answer_was_lost_is_still_ours() -> None:
    held = ledger(_1=MINE)
    assert held.note({1: 1, 2: 1}, set(), MINE, 1_000) == Noted([1, 2], [])


def test_what_nobody_noted_keeps_the_server_s_count_and_is_due_at_once() -> None:
    held = ledger()
    assert held.note({4: 3}, set(), MINE, 1_000) == Noted([], [])
    assert held.holds == {4: Hold(NOBODY, 1_000, 2)}
    assert held.due("me", set(), 1_000, 60_000) == 4
    assert held.take(4, "me", 1_001) == Hold("me", 1_001, 3)
    assert held.due("me", set(), 1_001, 60_000) is None


def test_what_a_consumer_left_comes_before_what_others_held_too_long() -> None:
    held = ledger(_1=Hold("other", 0, 1), _2=Hold("me", 990, 1), _3=Hold("me", 990, 1))
    assert held.due("me", {2, 3}, 1_000, 500) == 2
    assert held.due("me", set(), 1_000, 500) == 1
    assert held.due("me", set(), 1_000, 5_000) is None


def test_nothing_is_held_for_less_than_no_time() -> None:
    assert Hold("me", 1_000, 1).idle_ms(1_250) == 250
    assert Hold("me", 1_000, 1).idle_ms(990) == 0, "by another clock"


def test_only_who_still_holds_it_on_that_attempt_may_hold_on() -> None:
    held = ledger(_1=MINE, _2=THEIRS, _3=Hold("me", 5, 2))
    mine = Hold("me", 0, 1)
    assert held.hold({1: mine, 2: mine, 3: mine, 4: mine}, 2_000) == [1]
    assert held.holds[1] == Hold("me", 2_000, 1)
    assert held.holds[2] == THEIRS


def test_finishing_twice_is_harmless() -> None:
    held = ledger(_1=MINE, _2=THEIRS)
    assert held.finish([1, 2]) == [1, 2]
    assert held.finish([1, 2, 3]) == []
    assert 3 not in held.done
    assert 1 in held.done


def test_who_holds_something_is_not_forgotten() -> None:
    held = ledger(_1=MINE)
    held.seen = {"me": 1, "idle": 2}
    assert held.forget(["me", "idle", "unknown"]) == ["idle"]
    assert held.seen == {"me": 1}
