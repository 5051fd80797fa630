"""What a night does to Redis: consumers wait, say what is wrong or gone, and go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.commands import Recsys
from tests.servers import RedisServer, free_port, wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of its own, without persistence unless an option says so."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    yield server
    server.stop()


class RunningConsumer:
    """A consumer process, and what it has said so far."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "consumer.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "recsys_cli", "consume", "--block-ms", "200"),
                    *("--status-interval", "0.2", "--claim-idle-ms", "2000"),
                ],
                stderr=log,
                stdout=log,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.said, 30, f"the consumer says {text!r}")

    def ends_well(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=20) == 143, self.said
        assert "Traceback" not in self.said


@pytest.fixture
def consumer(
    server: RedisServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., RunningConsumer]]:
    """Start the server with these options, publish 50 products, and have them consumed."""
    started: list[RunningConsumer] = []

    def start(*options: str) -> RunningConsumer:
        server.options = options
        server.start()
        monkeypatch.setenv("REDIS_URL", server.url)
        publish(recsys_embedded, tmp_path, "before")
        started.append(RunningConsumer(tmp_path))
        wait_until(lambda: documents(recsys_embedded) == 50, 20, "the first 50 are embedded")
        return started[0]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def publish(recsys: Recsys, folder: Path, prefix: str) -> None:
    recsys("import", feed(folder, prefix))


def feed(folder: Path, prefix: str) -> Path:
    path = folder / f"{prefix}.jsonl"
    rows = ({"id": f"{prefix}-{n}", "name": f"Lamp {prefix} {n}"} for n in range(50))
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def documents(recsys: Recsys) -> int:
    info = recsys("index", "info", "--json", exits=None)
    return int(info.json["documents"]) if info.exit_code == 0 else 0


def is_settled(recsys: Recsys) -> bool:
    status = recsys("lag", "--json").json
    return (status["lag"], status["pending"], status["dead_letters"]) == (0, 0, 0)


Trouble = Callable[[redis.Redis], object]

TROUBLES: dict[str, tuple[Trouble, Trouble, str]] = {
    "out of memory": (
        lambda client: client.config_set("maxmemory", 1_000_000),
        lambda client: client.config_set("maxmemory", 0),
        "is at its memory limit",
    ),
    "a replica": (
        lambda client: client.replicaof("127.0.0.1", str(free_port())),
        lambda client: client.replicaof("NO", "ONE"),
        "is a replica",
    ),
    "no replicas": (
        lambda client: client.config_set("min-replicas-to-write", 1),
        lambda client: client.config_set("min-replicas-to-write", 0),
        "cannot serve this now: NOREPLICAS",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_server_that_takes_no_writes_is_waited_for(
    trouble: str,
    server: RedisServer,
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    begin, end, sentence = TROUBLES[trouble]
    running = consumer()
    running.process.send_signal(signal.SIGSTOP)
    publish(recsys_embedded, tmp_path, "meanwhile")
    with server.client() as client:
        begin(client)
        running.process.send_signal(signal.SIGCONT)
        running.says(sentence)
        running.says("trying again in")

        refused = recsys_embedded("import", feed(tmp_path, "after"), exits=5)
        assert sentence in refused.err

        end(client)
    running.says("answers again")
    publish(recsys_embedded, tmp_path, "after")
    wait_until(lambda: documents(recsys_embedded) == 150, 20, "the consumer goes on")
    assert is_settled(recsys_embedded)
    running.ends_well()


def test_with_an_append_only_file_a_restart_loses_nothing(
    server: RedisServer,
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    running = consumer("--appendonly", "yes")
    server.stop(kill=True)
    running.says("trying again in")
    server.start()
    publish(recsys_embedded, tmp_path, "after")
    wait_until(lambda: documents(recsys_embedded) == 100, 40, "the consumer goes on")
    assert is_settled(recsys_embedded)
    assert "gone" not in running.said
    assert "lost" not in running.said
    running.ends_well()


def test_a_server_that_is_still_loading_is_waited_for(
    server: RedisServer,
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    running = consumer()
    with server.client() as client:
        client.save()
    server.stop(kill=True)
    # So many microseconds a key, and answering in between.
    server.options += (
        "--key-load-delay",
        "30000",
        "--loading-process-events-interval-bytes",
        "1024",
    )
    server.start(wait=False)
    running.says("is still loading its data")
    running.says("answers again")
    publish(recsys_embedded, tmp_path, "after")
    wait_until(lambda: documents(recsys_embedded) == 100, 40, "the consumer goes on")
    running.ends_well()


@pytest.mark.parametrize("how", ["restart", "flushall"])
def test_what_is_gone_for_good_is_said_and_an_import_brings_it_back(
    how: str,
    server: RedisServer,
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    running = consumer()
    if how == "restart":
        server.stop()
        server.start()
    else:
        with server.client() as client:
            client.flushall()
    running.says("the stream's consumer group was gone")
    running.says("import the feeds again")

    publish(recsys_embedded, tmp_path, "before")

    wait_until(lambda: documents(recsys_embedded) == 50, 20, "everything is back")
    wait_until(lambda: is_settled(recsys_embedded), 10, "and nothing is left over")
    assert len(recsys_embedded("index", "info", "--json").json["model_versions"]) == 1
    assert recsys_embedded("similar", "before-7").out
    running.ends_well()


def test_two_consumers_agree_on_a_model_after_everything_was_flushed(
    server: RedisServer,
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    first = consumer()
    (tmp_path / "second").mkdir()
    second = RunningConsumer(tmp_path / "second")
    second.says("processed")
    with server.client() as client:
        client.flushall()
    for prefix in ("after", "later", "before"):
        publish(recsys_embedded, tmp_path, prefix)
    wait_until(lambda: documents(recsys_embedded) == 150, 20, "everything is there")
    assert len(recsys_embedded("index", "info", "--json").json["model_versions"]) == 1
    first.ends_well()
    second.ends_well()


def test_a_group_that_was_destroyed_is_made_again_and_misses_nothing(
    server: RedisServer,
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    running = consumer()
    with server.client() as client:
        client.xgroup_destroy("product:updates", "product-processors")
        publish(recsys_embedded, tmp_path, "after")
    wait_until(lambda: documents(recsys_embedded) == 100, 20, "the consumer goes on")
    running.says("is made again")
    running.ends_well()


def test_a_dropped_index_is_made_again(
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    running = consumer()
    recsys_embedded("index", "drop", "--yes")
    publish(recsys_embedded, tmp_path, "after")
    wait_until(lambda: documents(recsys_embedded) == 100, 20, "all are found again")
    running.says("the index was gone, and is made again over the embeddings that are left")
    running.ends_well()


def test_older_data_after_a_restart_is_noticed(
    server: RedisServer,
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    running = consumer()
    with server.client() as client:
        client.save()
        publish(recsys_embedded, tmp_path, "after")
        wait_until(lambda: documents(recsys_embedded) == 100, 20, "all are embedded")
    # So that it has seen the stream where it was.
    running.says("processed 100")
    server.stop(kill=True)
    server.start()
    running.says("the stream has gone back from")
    publish(recsys_embedded, tmp_path, "after")
    wait_until(lambda: documents(recsys_embedded) == 100, 20, "an import brings it back")
    running.ends_well()


def test_events_that_somebody_deleted_are_reported_as_lost(
    server: RedisServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.start()
    monkeypatch.setenv("REDIS_URL", server.url)
    publish(recsys_embedded, tmp_path, "before")
    with server.client() as client:
        client.xreadgroup("product-processors", "dead", {"product:updates": ">"}, count=3)
        client.xtrim("product:updates", maxlen=48, approximate=False)

    said = recsys_embedded("consume", "--drain", "--claim-idle-ms", 1, exits=3).err

    assert said.count("taken off the stream before it was stored") >= 1
    assert "processed 50" in said
    assert ", lost 2, " in said
    assert documents(recsys_embedded) == 48
    assert is_settled(recsys_embedded)


@pytest.mark.parametrize("missing", ["xautoclaim", "xreadgroup", "hset", "evalsha", "ft.search"])
def test_a_command_that_the_user_may_not_run_is_named(
    missing: str,
    server: RedisServer,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    server.start()
    with server.client() as client:
        client.acl_setuser(
            "worker", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"]
        )
        client.execute_command("ACL", "SETUSER", "worker", f"-{missing}")
    monkeypatch.setenv("REDIS_URL", f"redis://worker:pw@127.0.0.1:{server.port}/0")
    said = ""
    for command in (("import", feed(tmp_path, "a")), ("consume", "--drain"), ("similar", "a-1")):
        result = recsys_embedded(*command, exits=None)
        assert result.exit_code in (0, 4, 5), result
        said += result.err
    assert "does not let this user" in said
    assert missing in said.lower()
    assert "ACL SETUSER" in said


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_minute_without_redis(
    server: RedisServer,
    consumer: Callable[..., RunningConsumer],
    recsys_embedded: Recsys,
    tmp_path: Path,
) -> None:
    running = consumer("--appendonly", "yes")
    server.stop()
    over_s = time.monotonic() + 60
    wait_until(lambda: time.monotonic() > over_s, 70, "a minute has passed")
    server.start()
    publish(recsys_embedded, tmp_path, "after")
    wait_until(lambda: documents(recsys_embedded) == 100, 60, "the consumer goes on")
    running.ends_well()
