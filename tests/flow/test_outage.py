"""What a night does to Redis: consumers wait, say what is wrong or gone, and go on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.commands import Recsys
from tests.nights import Night, RunningConsumer
from tests.servers import RedisServer, free_port, wait_until


class RedisNight(Night):
    """A Redis of its own, without persistence unless an option says so."""

    def __init__(self, recsys: Recsys, folder: Path) -> None:
        super().__init__(recsys, folder)
        (folder / "redis").mkdir()
        self.server = RedisServer(folder / "redis")

    def begin(self, *options: str) -> RunningConsumer:
        """Start the server with these options, publish 50 products, and have them consumed."""
        self.server.options = options
        self.server.start()
        return self.fill()


@pytest.fixture
def night(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[RedisNight]:
    night = RedisNight(recsys_embedded, tmp_path)
    monkeypatch.setenv("REDIS_URL", night.server.url)
    yield night
    night.end()
    night.server.stop()


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
def test_a_server_that_takes_no_writes_is_waited_for(trouble: str, night: RedisNight) -> None:
    begin, end, sentence = TROUBLES[trouble]
    running = night.begin()
    running.process.send_signal(signal.SIGSTOP)
    night.publish("meanwhile")
    with night.server.client() as client:
        begin(client)
        running.process.send_signal(signal.SIGCONT)
        running.says(sentence)
        running.says("trying again in")

        refused = night.recsys("import", night.feed("after"), exits=5)
        assert sentence in refused.err

        end(client)
    running.says("answers again")
    night.publish("after")
    wait_until(lambda: night.documents() == 150, 20, "the consumer goes on")
    wait_until(night.is_settled, 10, "and nothing is left over")
    running.ends_well()


def test_with_an_append_only_file_a_restart_loses_nothing(night: RedisNight) -> None:
    running = night.begin("--appendonly", "yes")
    night.server.stop(kill=True)
    running.says("trying again in")
    night.server.start()
    night.publish("after")
    wait_until(lambda: night.documents() == 100, 40, "the consumer goes on")
    wait_until(night.is_settled, 10, "and nothing is left over")
    assert "gone" not in running.said
    assert "lost" not in running.said
    running.ends_well()


def test_a_server_that_is_still_loading_is_waited_for(night: RedisNight) -> None:
    running = night.begin()
    with night.server.client() as client:
        client.save()
    night.server.stop(kill=True)
    # So many microseconds a key, and answering in between.
    night.server.options += (
        "--key-load-delay",
        "30000",
        "--loading-process-events-interval-bytes",
        "1024",
    )
    night.server.start(wait=False)
    running.says("is still loading its data")
    running.says("answers again")
    night.publish("after")
    wait_until(lambda: night.documents() == 100, 40, "the consumer goes on")
    running.ends_well()


@pytest.mark.parametrize("how", ["restart", "flushall"])
def test_what_is_gone_for_good_is_said_and_an_import_brings_it_back(
    how: str, night: RedisNight
) -> None:
    running = night.begin()
    if how == "restart":
        night.server.stop()
        night.server.start()
    else:
        with night.server.client() as client:
            client.flushall()
    running.says("the stream's consumer group was gone")
    running.says("import the feeds again")

    night.publish("before")

    wait_until(lambda: night.documents() == 50, 20, "everything is back")
    wait_until(night.is_settled, 10, "and nothing is left over")
    assert len(night.recsys("index", "info", "--json").json["model_versions"]) == 1
    assert night.recsys("similar", "before-7").out
    running.ends_well()


def test_two_consumers_agree_on_a_model_after_everything_was_flushed(night: RedisNight) -> None:
    first = night.begin()
    second = night.start_consumer()
    second.says("processed")
    with night.server.client() as client:
        client.flushall()
    for prefix in ("after", "later", "before"):
        night.publish(prefix)
    wait_until(lambda: night.documents() == 150, 20, "everything is there")
    assert len(night.recsys("index", "info", "--json").json["model_versions"]) == 1
    first.ends_well()
    second.ends_well()


def test_a_group_that_was_destroyed_is_made_again_and_misses_nothing(night: RedisNight) -> None:
    running = night.begin()
    with night.server.client() as client:
        client.xgroup_destroy("product:updates", "product-processors")
        night.publish("after")
    wait_until(lambda: night.documents() == 100, 20, "the consumer goes on")
    running.says("is made again")
    running.ends_well()


def test_a_dropped_index_is_made_again(night: RedisNight) -> None:
    running = night.begin()
    night.recsys("index", "drop", "--yes")
    night.publish("after")
    wait_until(lambda: night.documents() == 100, 20, "all are found again")
    running.says("the index was gone, and is made again over the embeddings that are left")
    running.ends_well()


def test_older_data_after_a_restart_is_noticed(night: RedisNight) -> None:
    running = night.begin()
    with night.server.client() as client:
        client.save()
        night.publish("after")
        wait_until(lambda: night.documents() == 100, 20, "all are embedded")
    # So that it has seen the stream where it was.
    running.says("processed 100")
    night.server.stop(kill=True)
    night.server.start()
    running.says("the stream has gone back from")
    night.publish("after")
    wait_until(lambda: night.documents() == 100, 20, "an import brings it back")
    running.ends_well()


def test_events_that_somebody_deleted_are_reported_as_lost(night: RedisNight) -> None:
    night.server.start()
    night.publish("before")
    with night.server.client() as client:
        client.xreadgroup("product-processors", "dead", {"product:updates": ">"}, count=3)
        client.xtrim("product:updates", maxlen=48, approximate=False)

    said = night.recsys("consume", "--drain", "--claim-idle-ms", 1, exits=3).err

    assert said.count("taken off the stream before it was stored") >= 1
    assert "processed 50" in said
    assert ", lost 2, " in said
    assert night.documents() == 48
    assert night.is_settled()


@pytest.mark.parametrize("missing", ["xautoclaim", "xreadgroup", "hset", "evalsha", "ft.search"])
def test_a_command_that_the_user_may_not_run_is_named(
    missing: str, night: RedisNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.server.start()
    with night.server.client() as client:
        client.acl_setuser(
            "worker", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"]
        )
        client.execute_command("ACL", "SETUSER", "worker", f"-{missing}")
    monkeypatch.setenv("REDIS_URL", f"redis://worker:pw@127.0.0.1:{night.server.port}/0")
    said = ""
    for command in (("import", night.feed("a")), ("consume", "--drain"), ("similar", "a-1")):
        result = night.recsys(*command, exits=None)
        assert result.exit_code in (0, 4, 5), result
        said += result.err
    assert "does not let this user" in said
    assert missing in said.lower()
    assert "ACL SETUSER" in said


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_minute_without_redis(night: RedisNight) -> None:
    running = night.begin("--appendonly", "yes")
    night.server.stop()
    over_s = time.monotonic() + 60
    wait_until(lambda: time.monotonic() > over_s, 70, "a minute has passed")
    night.server.start()
    night.publish("after")
    wait_until(lambda: night.documents() == 100, 60, "the consumer goes on")
    running.ends_well()


def test_a_password_that_was_changed_ends_a_consumer_with_one_sentence(night: RedisNight) -> None:
    running = night.begin()
    with night.server.client() as client:
        client.config_set("requirepass", "changed")
        client.execute_command("CLIENT", "KILL", "SKIPME", "yes")
    assert running.process.wait(timeout=20) == 5
    assert "error: Redis at 127.0.0.1" in running.said
    assert "password" in running.said.splitlines()[-2]
    assert "Traceback" not in running.said
