from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from tests.commands import Recsys, recsys_process
from tests.servers import RedisServer, running_redis, wait_until


@pytest.fixture
def started() -> Iterator[list[Popen[str]]]:
    """Processes to be gone after the test, whatever happens."""
    processes: list[Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate(timeout=10)


def import_products(recsys: Recsys, folder: Path, count: int) -> None:
    feed = folder / "feed.jsonl"
    rows = ({"id": f"p{i}", "name": f"Lamp number {i}", "price": i} for i in range(count))
    feed.write_text("\n".join(map(json.dumps, rows)))
    recsys("import", feed)


def left(recsys: Recsys) -> tuple[int, int]:
    status = recsys("lag", "--json").json
    return status["lag"], status["pending"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_batch_in_hand(
    recsys: Recsys, tmp_path: Path, started: list[Popen[str]], number: signal.Signals
) -> None:
    import_products(recsys, tmp_path, 30)
    process = recsys_process("consume", "--block-ms", 60_000)
    started.append(process)
    wait_until(lambda: left(recsys) == (0, 0), 20, "all consumed")

    process.send_signal(number)

    assert process.wait(timeout=10) == 128 + number
    _, err = process.communicate()
    assert "finishing the batch in hand" in err
    assert "processed 30" in err
    assert "Traceback" not in err


def test_a_second_signal_ends_it_at_once(
    recsys: Recsys, tmp_path: Path, started: list[Popen[str]]
) -> None:
    import_products(recsys, tmp_path, 10_000)
    process = recsys_process("consume", "--batch-size", 10_000)
    started.append(process)
    wait_until(lambda: left(recsys)[1] > 0, 60, "a batch is in hand")

    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "finishing the batch" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=5) == 130
    assert left(recsys)[1] > 0, "the batch was not finished, and is not lost either"


def test_max_events_leaves_the_rest(recsys: Recsys, tmp_path: Path) -> None:
    import_products(recsys, tmp_path, 30)
    assert "processed 25, " in recsys("consume", "--drain", "--max-events", 25).err
    assert left(recsys) == (5, 0)


def test_drain_of_nothing_is_done_at_once(recsys: Recsys) -> None:
    assert "processed 0, 0/s, lag 0" in recsys("consume", "--drain").err


def test_a_status_line_per_interval(recsys: Recsys, tmp_path: Path) -> None:
    import_products(recsys, tmp_path, 900)
    result = recsys("consume", "--drain", "--batch-size", 1, "--status-interval", 0.1)
    lines = [line for line in result.err.splitlines() if line.startswith("processed")]
    assert len(lines) >= 2
    assert all(" lag " in line and " failed 0" in line and "/s, " in line for line in lines)


def test_killing_one_of_two_consumers_loses_nothing(
    recsys: Recsys, tmp_path: Path, started: list[Popen[str]]
) -> None:
    import_products(recsys, tmp_path, 400)
    for name in ("one", "two"):
        started.append(recsys_process("consume", "--consumer-id", name, "--claim-idle-ms", 1500))

    def both_work() -> bool:
        status = recsys("lag", "--json").json
        return status["lag"] < 300 and {c["name"] for c in status["consumers"]} >= {"one", "two"}

    wait_until(both_work, 20, "both consumers take part")
    started[0].kill()

    wait_until(lambda: left(recsys) == (0, 0), 30, "the other one finishes all of it")
    assert recsys("index", "info", "--json").json["documents"] == 400
    assert recsys("lag", "--json").json["dead_letters"] == 0


def test_two_first_consumers_end_up_with_one_model(
    recsys: Recsys, tmp_path: Path, started: list[Popen[str]]
) -> None:
    import_products(recsys, tmp_path, 200)
    for name in ("one", "two"):
        started.append(recsys_process("consume", "--drain", "--consumer-id", name))
    for process in started:
        assert process.wait(timeout=30) == 0
    wait_until(lambda: left(recsys) == (0, 0), 10, "all consumed")
    info = recsys("index", "info", "--json").json
    assert info["documents"] == 200
    assert len(info["model_versions"]) == 1


def test_a_foreign_poison_event_becomes_a_dead_letter_and_blocks_nobody(
    recsys_embedded: Recsys,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    recsys = recsys_embedded
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    import_products(recsys, tmp_path, 5)
    with redis_server.client() as client:
        client.xadd("product:updates", {"event_type": "explode", "product_id": "p1"})
        client.xadd("product:updates", {"init": "true"})
    result = recsys("consume", "--drain", exits=3)
    assert "unknown event_type 'explode'" in result.err
    assert recsys("index", "info", "--json").json["documents"] == 5
    assert recsys("lag", "--json").json["dead_letters"] == 1


def test_redis_without_search_is_one_sentence(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_redis(search=False) as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        for command in (("consume", "--drain"), ("health",), ("index", "info")):
            assert "has no search module" in recsys_embedded(*command, exits=5).err


def test_redis_gone_at_the_start_is_one_sentence(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:s3cret@127.0.0.1:1/0")
    for command in (("consume", "--drain"), ("health",), ("similar", "x"), ("lag",)):
        result = recsys_embedded(*command, exits=5)
        assert "127.0.0.1:1" in result.err
        assert "s3cret" not in result.err
