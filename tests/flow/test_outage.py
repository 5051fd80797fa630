"""Redis goes away and comes back: what was published is consumed, and nobody has to restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import Recsys, recsys_process
from tests.servers import RedisServer, wait_until


@pytest.fixture
def server(tmp_path: Path) -> RedisServer:
    folder = tmp_path / "redis"
    folder.mkdir()
    return RedisServer(folder, "--appendonly", "yes", "--appendfsync", "always")


def test_a_consumer_waits_for_redis_to_come_back(
    server: RedisServer,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    recsys = recsys_embedded
    monkeypatch.setenv("REDIS_URL", server.url)
    server.start()
    consumer = recsys_process("consume", "--block-ms", 200)
    try:
        publish(recsys, tmp_path, "before")
        wait_until(lambda: documents(recsys) == 50, 20, "the first 50 are embedded")

        server.stop(kill=True)
        server.start()
        publish(recsys, tmp_path, "after")

        wait_until(lambda: documents(recsys) == 100, 40, "the consumer goes on by itself")
        status = recsys("lag", "--json").json
        assert (status["lag"], status["pending"], status["dead_letters"]) == (0, 0, 0)
        consumer.terminate()
        assert consumer.wait(timeout=10) == 143
        assert "trying again" in consumer.communicate()[1]
    finally:
        consumer.kill()
        consumer.communicate()
        server.stop()


def publish(recsys: Recsys, folder: Path, prefix: str) -> None:
    feed = folder / "feed.jsonl"
    rows = ({"id": f"{prefix}-{n}", "name": f"Lamp {prefix} {n}"} for n in range(50))
    feed.write_text("\n".join(map(json.dumps, rows)))
    recsys("import", feed)


def documents(recsys: Recsys) -> int:
    info = recsys("index", "info", "--json", exits=None)
    return int(info.json["documents"]) if info.exit_code == 0 else 0
