"""The two places where it all happens: an embedded file, and a Redis that may be restarted."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import redis

from tests.chaos.oracle import Entry
from tests.servers import RedisServer

STREAM = "product:updates"
AUDIT = "audit"
"""A group that reads nothing: whatever was published must stay on the stream for it."""


class World(Protocol):
    environment: dict[str, str]

    def append(self, entry: Mapping[str, str]) -> None:
        """Put an entry on the stream as another program would."""
        ...

    def entries(self) -> list[Entry]:
        """Return everything that was ever put on the stream."""
        ...

    def damage(self, product_id: str) -> None:
        """Make the product's state in the catalog unreadable."""
        ...

    def shown(self, product_id: str) -> tuple[str, str, float | None] | None:
        """Return name, category and price as they lie beside the product's vector."""
        ...

    def restart(self, *, kill: bool) -> bool:
        """Restart the server; return False where there is none."""
        ...

    def close(self) -> None: ...


class EmbeddedWorld:
    def __init__(self, folder: Path) -> None:
        self.environment = {"RECSYS_HOME": str(folder)}
        self._path = folder / "recsys.db"

    def append(self, entry: Mapping[str, str]) -> None:
        names = ("event_type", "product_id", "timestamp", "data", "original_id", "replays")
        with self._opened() as connection:
            connection.execute(
                "INSERT INTO events "
                "(event_type, product_id, timestamp, data, original_id, replays, stream) "
                "SELECT ?, ?, ?, ?, ?, ?, id FROM streams WHERE name = ?",
                [*(entry.get(name) for name in names), STREAM],
            )
        connection.close()

    def entries(self) -> list[Entry]:
        connection = self._opened()
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT * FROM events ORDER BY position").fetchall()
        connection.close()
        return [
            (f"{row['position']}-0", {n: row[n] for n in row.keys() if isinstance(row[n], str)})  # noqa: SIM118
            for row in rows
        ]

    def damage(self, product_id: str) -> None:
        with self._opened() as connection:
            connection.execute("INSERT INTO products VALUES (?, 'not a state')", [product_id])
        connection.close()

    def shown(self, product_id: str) -> tuple[str, str, float | None] | None:
        connection = self._opened()
        row: tuple[str, str, float | None] | None = connection.execute(
            "SELECT name, category, price FROM embeddings WHERE product_id = ?", [product_id]
        ).fetchone()
        connection.close()
        return row

    def restart(self, *, kill: bool) -> bool:  # noqa: ARG002 - the Protocol's
        return False

    def close(self) -> None:
        pass

    def _opened(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=60)


class RedisWorld:
    def __init__(self, folder: Path) -> None:
        self._server = RedisServer(folder, "--appendonly", "yes")
        self._server.start()
        self.environment = {"REDIS_URL": self._server.url}
        self._client = redis.Redis(port=self._server.port)

    def append(self, entry: Mapping[str, str]) -> None:
        self._client.xadd(STREAM, {name: value for name, value in entry.items()})  # noqa: C416 - its type

    def entries(self) -> list[Entry]:
        found: Any = self._client.xrange(STREAM)
        return [
            (entry_id.decode(), {name.decode(): value.decode() for name, value in fields.items()})
            for entry_id, fields in found
        ]

    def damage(self, product_id: str) -> None:
        self._client.rpush(f"product:state:{product_id}", "not a state")

    def shown(self, product_id: str) -> tuple[str, str, float | None] | None:
        found: Any = self._client.hgetall(f"product:embedding:{product_id}")
        if not found:
            return None
        price = found.get(b"price")
        return (
            found[b"name"].decode(),
            found[b"category"].decode(),
            None if price is None else float(price),
        )

    def restart(self, *, kill: bool) -> bool:
        self._server.stop(kill=kill)
        self._server.start()
        return True

    def close(self) -> None:
        self._client.close()
        self._server.stop()
