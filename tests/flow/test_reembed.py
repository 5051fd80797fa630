"""A new model, or a new index, while the shop is open; and back again."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from recsys_cli.generations import GenerationState, serving
from recsys_cli.pipeline.embed import Target, embed_states
from recsys_cli.pipeline.model import SharedModels
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys, recsys_process
from tests.servers import wait_until
from tests.shops import VECTOR_SHOPS
from tests.visitors import WORDS, Asking, Busy, Shopping

pytestmark = pytest.mark.parametrize("recsys", VECTOR_SHOPS, indirect=True)

SHOP = Path(__file__).parents[2] / "sample_data" / "products.csv"
UPDATE = SHOP.with_name("update.csv")


@pytest.fixture
def shop(recsys: Recsys) -> Recsys:
    return recsys.stock(SHOP)


@pytest.fixture
def opened(shop: Recsys) -> Iterator[Backends]:  # noqa: ARG001 - after its settings
    with Backends(load()) as backends:
        yield backends


def generations(recsys: Recsys) -> list[tuple[int, str, int | None]]:
    found = recsys("index", "generations", "--json").json_lines
    return [(g["generation"], g["state"], g["documents"]) for g in found]


def model_in_use(recsys: Recsys) -> str:
    return str(recsys("model", "info", "--json").json["version"])


def answer(recsys: Recsys, product_id: str) -> list[tuple[str, float]]:
    found = recsys("similar", product_id, "--limit", 5, "--json").json
    return [(n["product_id"], round(n["similarity_score"], 4)) for n in found["neighbors"]]


def many(folder: Path, count: int) -> Path:
    feed = folder / "many.csv"
    rows = [
        f"m-{n},{WORDS[n % 12]} {WORDS[n // 12 % 12]} {WORDS[n // 7 % 12]} model {n}"
        for n in range(count)
    ]
    feed.write_text("id,name\n" + "\n".join(rows) + "\n")
    return feed


def test_the_next_generation_serves_with_its_own_model(shop: Recsys) -> None:
    old = model_in_use(shop)
    shop.stock(UPDATE)

    done = shop("reembed", "--json").json

    assert (done["generation"], done["serves"], done["refusals"]) == (2, True, [])
    assert (done["products"], done["written"], done["resumed"]) == (154, 154, False)
    assert (done["recall"], done["zero_vectors"]) == (1.0, 0.0)
    assert done["overlap"] > 0.8
    assert done["model_version"] == model_in_use(shop) != old == done["previous_model_version"]
    assert generations(shop) == [(1, "kept", 154), (2, "serving", 154)]
    assert shop("index", "info", "--json").json["model_versions"] == [done["model_version"]]
    listed = {m["version"]: m for m in shop("model", "list", "--json").json_lines}
    assert listed[old]["generations"] == [1]
    assert listed[done["model_version"]]["is_in_use"]
    line = shop("reembed").out.strip()
    assert line.startswith("generation 3 serves: 154 products, 154 embedded, model ")
    assert "\n" not in line


def test_only_so_many_generations_are_kept_and_models_with_them(shop: Recsys) -> None:
    versions = [model_in_use(shop)]
    for n in range(3):
        shop("product", "put", f"new-{n}", "--name", f"Something quite new {n}")
        shop("consume", "--drain")
        versions.append(shop("reembed", "--json").json["model_version"])
    assert [state for _, state, _ in generations(shop)] == ["kept", "serving"]
    listed = [m["version"] for m in shop("model", "list", "--json").json_lines]
    assert set(listed) == set(versions[-2:])
    shop("reembed", "--keep", 0)
    assert [state for _, state, _ in generations(shop)] == ["serving"]


def test_a_rollback_is_up_to_date_and_can_be_undone(shop: Recsys) -> None:
    before, old = answer(shop, "prod-101"), model_in_use(shop)
    shop("product", "put", "late", "--name", "Gooseneck kettle, late")
    shop("reembed")
    new = model_in_use(shop)
    shop("product", "rm", "prod-102")
    shop("product", "put", "later", "--name", "Gooseneck kettle, later")
    shop("consume", "--drain")
    assert old != new

    shop("index", "rollback")

    assert model_in_use(shop) == old
    assert [state for _, state, _ in generations(shop)] == ["serving", "kept"]
    after = answer(shop, "prod-101")
    ids = [product_id for product_id, _ in after]
    assert "prod-102" not in ids
    assert {"late", "later"} <= set(ids)
    kept = dict(before)
    assert all(score == kept[i] for i, score in after if i in kept), "the old model's scores"
    shop("index", "rollback")
    assert model_in_use(shop) == new
    assert "no kept generation 9" in shop("index", "rollback", "--to", 9, exits=4).err


def test_what_is_not_fit_to_serve_does_not(shop: Recsys) -> None:
    shop("product", "put", "wordless", "--name", "!!!")
    shop("consume", "--drain")
    before = answer(shop, "prod-101")

    refused = shop("reembed", "--max-zero-vectors", 0, exits=3)

    assert "refused: zero vectors: 0.7% of the products" in refused.err
    assert refused.out.startswith("generation 1 serves on: ")
    assert generations(shop) == [(1, "serving", 152)]
    assert answer(shop, "prod-101") == before
    assert shop("reembed", "--json").json["serves"]


def test_an_index_that_finds_too_little_is_refused(recsys: Recsys, tmp_path: Path) -> None:
    recsys.stock(many(tmp_path, 1500), batch_size=1500)
    if recsys("index", "info", "--json").json["algorithm"] == "exact":
        assert recsys("reembed", "--m", 2, "--json").json["recall"] == 1.0
        return
    parameters = ("--m", 2, "--ef-construction", 4, "--ef-runtime", 1)
    refused = recsys("reembed", *parameters, "--json", exits=3)
    assert refused.json["recall"] < 0.95
    assert "below 0.95" in refused.err
    done = recsys("reembed", "--m", 24, "--json").json
    assert done["serves"]
    assert recsys("index", "info", "--json").json["parameters"]["m"] == 24


def test_it_goes_no_faster_than_it_may(shop: Recsys) -> None:
    slow = ("--rate-limit", "200/s", "--batch-size", 20)
    assert shop("reembed", *slow, "--json").json["seconds"] > 152 / 200 * 0.9
    for wrong in ("0", "-5/s", "fast", "5/min", "inf"):
        said = shop("reembed", "--rate-limit", wrong, exits=2).err
        assert "it must be products a second, such as 500/s" in said


def test_while_one_runs_another_exits_6(opened: Backends, shop: Recsys) -> None:
    held = opened.get_generations()
    token = held.lock("somebody", 60_000)
    for command in (("reembed",), ("index", "rollback"), ("index", "prune", "--yes")):
        said = shop(*command, exits=6).err
        assert "another run holds the lock: somebody" in said
    held.unlock(token)
    shop("reembed")


def test_a_stored_model_can_be_used(shop: Recsys, tmp_path: Path) -> None:
    first = model_in_use(shop)
    version = shop("model", "fit", UPDATE, "--json").json["version"]
    assert model_in_use(shop) == first, "fitting changes nothing"
    shop("model", "use", version)
    assert model_in_use(shop) == version
    assert shop("index", "info", "--json").json["model_versions"] == [version]
    file = tmp_path / "a.model"
    shop("model", "export", "-o", file)
    assert shop("model", "import", file, "--json").json["version"] == version
    assert "no model 'nonsense'" in shop("model", "use", "nonsense", exits=4).err
    assert "nothing had to be embedded" in shop("model", "use", version).err


def test_before_anything_is_embedded_a_model_is_used_at_once(recsys: Recsys) -> None:
    version = recsys("model", "fit", SHOP, "--json").json["version"]
    recsys("model", "use", version)
    recsys.stock(UPDATE)
    assert model_in_use(recsys) == version
    assert recsys("index", "info", "--json").json["model_versions"] == [version]


def test_an_empty_catalog_gets_no_generation(recsys: Recsys) -> None:
    refused = recsys("reembed", exits=3)
    assert "refused: it is empty" in refused.err
    recsys.stock(SHOP)


def test_a_running_consumer_follows_without_a_restart(shop: Recsys) -> None:
    consumer = recsys_process("consume", "--block-ms", 100)
    try:
        shop("product", "put", "one", "--name", "A gooseneck kettle, one more")
        version = shop("reembed", "--json").json["model_version"]
        shop("product", "put", "two", "--name", "A gooseneck kettle, and another")

        def is_there() -> bool:
            found = shop("similar", "two", "--json", exits=None)
            return found.exit_code == 0

        wait_until(is_there, 20, "the consumer has embedded what came after the swap")
        assert shop("index", "info", "--json").json["model_versions"] == [version]
    finally:
        consumer.send_signal(signal.SIGTERM)
        consumer.communicate(timeout=20)


def test_killed_anywhere_it_goes_on_where_it_was(recsys: Recsys, tmp_path: Path) -> None:
    recsys.stock(many(tmp_path, 2500), batch_size=2500)
    old = model_in_use(recsys)
    progress: list[int] = []
    for _ in range(3):
        process = recsys_process("reembed", "--batch-size", 50)
        with Backends(load()) as backends:
            wait_until(partial(has_grown, backends, progress), 30, "some are built")
            process.kill()
            process.communicate()
            progress.append(built(backends))
        assert model_in_use(recsys) == old
        assert len(answer(recsys, "m-7")) == 5
        unlock_at_once(recsys)
    assert progress == sorted(progress)

    done = recsys("reembed", "--json").json

    assert (done["generation"], done["resumed"], done["serves"]) == (2, True, True)
    assert done["written"] <= 2500 - progress[-1]
    assert generations(recsys) == [(1, "kept", 2500), (2, "serving", 2500)]


def has_grown(backends: Backends, progress: list[int]) -> bool:
    """Whether a run has added to it; what one that was killed had sent may still arrive."""
    states = {generation.state for generation in backends.get_generations().all()}
    return GenerationState.BUILDING in states and built(backends) > max(progress, default=0)


def built(backends: Backends) -> int:
    """How many embeddings the unfinished generation has."""
    every = backends.get_generations()
    for generation in every.all():
        if generation.state in (GenerationState.BUILDING, GenerationState.UNFINISHED):
            info = every.store(generation).info()
            return info.documents if info else 0
    return 0


def unlock_at_once(recsys: Recsys) -> None:
    """Do not wait for the lock of a run that was killed to expire; see that it would."""
    held = recsys("reembed", exits=6).err
    assert "if it was killed, it lets go in" in held
    with Backends(load()) as backends:
        every = backends.get_generations()
        for token in range(1, 100):
            every.unlock(token)


def test_queries_while_it_runs(recsys: Recsys, tmp_path: Path) -> None:
    """Queries, live updates and deletes: no error, and never two models in one answer."""
    recsys.stock(many(tmp_path, 1000), batch_size=1000)
    consumer = recsys_process("consume", "--block-ms", 50, "--batch-size", 20)
    over = threading.Event()
    asking, shopping = [Asking(over, 1000), Asking(over, 1000)], Shopping(over)
    busy: list[Busy] = [*asking, shopping]
    try:
        for thread in busy:
            thread.start()
        for _ in range(2):
            assert recsys("reembed", "--keep", 0, "--json").json["serves"]
        over.set()
        for thread in busy:
            thread.join(30)
        wait_until(
            lambda: (
                recsys("lag", "--json").json["lag"] == 0
                and recsys("lag", "--json").json["pending"] == 0
            ),
            30,
            "all events are consumed",
        )
    finally:
        over.set()
        consumer.send_signal(signal.SIGTERM)
        consumer.communicate(timeout=20)
    assert [thread.error for thread in busy] == [None, None, None]
    assert sum(thread.done for thread in asking) > 200
    assert shopping.done > 20
    with Backends(load()) as backends:
        vectors = backends.get_vector_store()
        ids = [f"live-{n}" for n in range(shopping.done)]
        expected = {i for n, i in enumerate(ids) if n % 3}
        assert vectors.get(ids).keys() == expected
        assert len(vectors.info().model_versions) == 1  # type: ignore[union-attr]


def test_who_writes_to_a_dropped_generation_leaves_nothing(opened: Backends, shop: Recsys) -> None:
    catalog, every = opened.get_catalog(), opened.get_generations()
    events, factory = opened.get_event_processor(), opened.get_model_factory()
    models = SharedModels(events, catalog, factory)

    def targets() -> list[Target]:
        followed = [g for g in every.all() if g.is_followed]
        return [Target(g, every.store(g), models.of(g)) for g in followed]

    stale = targets()
    shop("reembed", "--keep", 0)

    # A consumer that was stopped for a while, after it had looked.
    embed_states(catalog.get(["prod-101"]), catalog, stale, targets)

    assert stale[0].vectors.stored(["prod-101"]) == {}
    assert [page for page in stale[0].vectors.entries() if page] == []
    assert [g.number for g in every.all()] == [2]


def test_what_serves_is_what_is_listed(opened: Backends, shop: Recsys) -> None:
    shop("reembed")
    every = opened.get_generations()
    assert serving(every.all()).number == 2
    listed = [json.loads(line) for line in shop("index", "generations", "--json").out.splitlines()]
    assert [g["generation"] for g in listed if g["state"] == "serving"] == [2]
