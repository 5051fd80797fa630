"""What every set of generations promises; see ports.Generations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recsys_cli.domain import IndexSpec, Position, ProductMetadata, StoredEmbedding
from recsys_cli.errors import IndexMissing, LockHeld
from recsys_cli.generations import Generation, GenerationState, serving
from recsys_cli.ports import Embedding, Generations, VectorStore
from tests.contract.conftest import VectorsSide
from tests.servers import wait_until

DIMENSION = 16
SPEC = IndexSpec(dimension=DIMENSION, ef_runtime=77)
VECTOR = np.eye(1, DIMENSION, dtype=np.float32)[0]
LONG_MS = 60_000


@pytest.fixture
def generations(vectors_side: VectorsSide, closing: Callable[[object], None]) -> Generations:
    found = vectors_side.generations(dimension=DIMENSION)
    closing(found)
    return found


@pytest.fixture
def token(generations: Generations) -> int:
    return generations.lock("a test", LONG_MS)


def write(store: VectorStore, *product_ids: str) -> None:
    source = StoredEmbedding(position=Position(1, 0), model_version="m", text_digest="d")
    store.write([Embedding(i, VECTOR, ProductMetadata(), source, "now") for i in product_ids])


def found(store: VectorStore) -> list[str]:
    return [n.product_id for n in store.search(VECTOR, 10)]


def begun(generations: Generations, token: int) -> Generation:
    new = generations.begin(token, "m-2", SPEC)
    generations.store(new).create_index(SPEC)
    return new


def test_in_the_beginning_the_first_serves(generations: Generations) -> None:
    (first,) = generations.all()
    assert (first.number, first.state) == (1, GenerationState.SERVING)
    assert first.is_followed


def test_each_generation_holds_its_own(generations: Generations, token: int) -> None:
    first = serving(generations.all())
    generations.store(first).create_index(SPEC)
    new = begun(generations, token)
    write(generations.store(first), "old")
    write(generations.store(new), "new")
    assert found(generations.store(first)) == ["old"]
    assert found(generations.store(new)) == ["new"]
    assert list(generations.store(new).get(["old", "new"])) == ["new"]
    assert [e.product_id for page in generations.store(new).entries() for e in page] == ["new"]


def test_a_new_one_is_followed_but_does_not_serve(generations: Generations, token: int) -> None:
    new = begun(generations, token)
    first, second = generations.all()
    assert second == new
    assert (first.state, second.state) == (GenerationState.SERVING, GenerationState.BUILDING)
    assert (new.number, new.model_version, new.spec) == (2, "m-2", SPEC)
    assert new.is_followed


def test_serving_keeps_the_one_that_served(generations: Generations, token: int) -> None:
    generations.store(serving(generations.all())).create_index(SPEC)
    new = begun(generations, token)
    generations.serve(token, new.number)
    first, second = generations.all()
    assert (first.state, second.state) == (GenerationState.KEPT, GenerationState.SERVING)
    assert not first.is_followed
    generations.serve(token, 1)
    generations.serve(token, 1)
    assert serving(generations.all()).number == 1
    assert [g.number for g in generations.all()] == [1, new.number]


def test_dropping_removes_it_whole(generations: Generations, token: int) -> None:
    new = begun(generations, token)
    store = generations.store(new)
    write(store, "a")
    generations.drop(token, new.number)
    assert len(generations.all()) == 1
    assert store.get(["a"]) == {}
    assert store.info() is None
    with pytest.raises(IndexMissing):
        store.search(VECTOR, 1)


def test_a_number_is_never_used_twice(generations: Generations, token: int) -> None:
    new = begun(generations, token)
    generations.drop(token, new.number)
    assert begun(generations, token).number == new.number + 1


def test_the_first_can_be_dropped_once_another_serves(generations: Generations, token: int) -> None:
    generations.store(serving(generations.all())).create_index(SPEC)
    new = begun(generations, token)
    write(generations.store(new), "new")
    generations.serve(token, new.number)
    generations.drop(token, 1)
    assert [g.number for g in generations.all()] == [new.number]
    assert found(generations.store(new)) == ["new"]


def test_what_is_noted_is_there(generations: Generations, token: int) -> None:
    first = serving(generations.all())
    generations.store(first).create_index(SPEC)
    noted = Generation(number=1, model_version="m-1", spec=SPEC, since="today")
    generations.note(token, noted)
    assert generations.all() == [noted]
    info = generations.store(noted).info()
    assert info is not None
    assert info.parameters.get("ef_runtime", SPEC.ef_runtime) == SPEC.ef_runtime


def test_all_are_described_under_the_name_they_share(generations: Generations, token: int) -> None:
    first, new = serving(generations.all()), begun(generations, token)
    generations.store(first).create_index(SPEC)
    infos = [generations.store(generation).info() for generation in (first, new)]
    assert [info and info.name for info in infos] == ["product:vectors"] * 2


def test_the_lock_is_held_by_one(generations: Generations, token: int) -> None:
    with pytest.raises(LockHeld, match="a test") as error:
        generations.lock("another", LONG_MS)
    assert error.value.exit_code == 6
    generations.unlock(token)
    assert generations.lock("another", LONG_MS) > token


def test_a_dead_holder_does_not_keep_the_lock(generations: Generations) -> None:
    dead = generations.lock("dead", 50)
    later: list[int] = []

    def is_taken() -> bool:
        try:
            later.append(generations.lock("alive", LONG_MS))
        except LockHeld:
            return False
        return True

    wait_until(is_taken, 5, "the lock has expired")
    assert later[0] > dead
    generations.unlock(dead)
    with pytest.raises(LockHeld, match="alive"):
        generations.lock("third", LONG_MS)


def test_a_renewed_lock_is_kept(generations: Generations) -> None:
    token = generations.lock("a", 10_000)
    generations.renew(token, LONG_MS)
    with pytest.raises(LockHeld, match="a") as error:
        generations.lock("b", LONG_MS)
    left_s = int(error.value.hint.rsplit(" ", 2)[1])
    assert left_s > 10


def test_a_lock_that_expired_is_not_had_back(generations: Generations) -> None:
    token = generations.lock("slow", LONG_MS)
    new = begun(generations, token)
    generations.renew(token, 1)

    def is_unfinished() -> bool:
        return generations.all()[-1].state is GenerationState.UNFINISHED

    wait_until(is_unfinished, 5, "the lock has expired")
    with pytest.raises(LockHeld):
        generations.renew(token, LONG_MS)
    with pytest.raises(LockHeld):
        generations.serve(token, new.number)
    with pytest.raises(LockHeld):
        generations.note(token, new)
    assert not generations.all()[-1].is_followed


def test_what_a_run_has_left_is_followed_only_while_the_next_one_is_at_it(
    generations: Generations,
) -> None:
    token = generations.lock("first", LONG_MS)
    begun(generations, token)
    assert generations.all()[-1].is_followed
    generations.unlock(token)
    assert generations.all()[-1].state is GenerationState.UNFINISHED
    assert not generations.all()[-1].is_followed
    generations.lock("second", LONG_MS)
    assert generations.all()[-1].state is GenerationState.BUILDING


@pytest.mark.parametrize("change", ["begin", "note", "serve", "drop", "renew"])
def test_who_was_overtaken_changes_nothing(generations: Generations, change: str) -> None:
    stale = generations.lock("slow", LONG_MS)
    new = begun(generations, stale)
    generations.unlock(stale)
    generations.lock("fast", LONG_MS)
    before = generations.all()
    changes: dict[str, Callable[[], object]] = {
        "begin": lambda: generations.begin(stale, "m-3", SPEC),
        "note": lambda: generations.note(stale, Generation(number=1, since="never")),
        "serve": lambda: generations.serve(stale, new.number),
        "drop": lambda: generations.drop(stale, new.number),
        "renew": lambda: generations.renew(stale, LONG_MS),
    }
    with pytest.raises(LockHeld):
        changes[change]()
    assert generations.all() == before
    assert generations.store(new).info() is not None


def test_entries_come_each_once(generations: Generations) -> None:
    store = generations.store(serving(generations.all()))
    ids = [f"p-{n}" for n in range(1500)]
    write(store, *ids)
    entries = [entry for page in store.entries() for entry in page]
    assert sorted(e.product_id for e in entries) == sorted(ids)
    assert all(e.vector is not None and np.array_equal(e.vector, VECTOR) for e in entries)
    assert {e.source.model_version for e in entries} == {"m"}
