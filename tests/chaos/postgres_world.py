"""Everything on a Postgres that may be restarted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_cli.catalogs.supabase import SupabaseCatalog
from recsys_cli.connections.postgres import PostgresConnection
from tests.chaos.oracle import Entry
from tests.chaos.world import AUDIT, STREAM
from tests.postgres import running_postgres


class SupabaseWorld:
    def __init__(self, folder: Path) -> None:
        self._running = running_postgres()
        self._server = self._running.__enter__()
        catalog = SupabaseCatalog(PostgresConnection(self._server.url, schema="recsys"))
        # The first use makes the tables, which the damage of a product needs.
        catalog.model_checksum()
        catalog.close()
        self.environment = {"RECSYS_HOME": str(folder), **self._server.settings}

    def append(self, entry: Mapping[str, str]) -> None:
        queue = "SELECT queue FROM recsys.streams WHERE name = %s"
        with self._server.client() as client:
            client.execute(
                f"SELECT pgmq.send(({queue}), %s::jsonb)",
                [STREAM, json.dumps(entry)],
            )

    def entries(self) -> list[Entry]:
        with self._server.client() as client:
            found: Any = client.execute(
                "SELECT queue FROM recsys.groups WHERE stream = %s AND name = %s", [STREAM, AUDIT]
            ).fetchone()
            rows: Any = client.execute(
                f'SELECT msg_id, message FROM pgmq."q_{found[0]}" ORDER BY msg_id'  # noqa: S608
            ).fetchall()
        return [
            (f"{number}-0", {n: v for n, v in message.items() if isinstance(v, str)})
            for number, message in rows
        ]

    def damage(self, product_id: str) -> None:
        with self._server.client() as client:
            client.execute(
                "INSERT INTO recsys.products VALUES (%s, 'not a state') ON CONFLICT DO NOTHING",
                [product_id],
            )

    def shown(self, product_id: str) -> tuple[str, str, float | None] | None:
        with self._server.client() as client:
            row: Any = client.execute(
                "SELECT name, category, price FROM recsys.product_vectors_1 WHERE product_id = %s",
                [product_id],
            ).fetchone()
        return row and (row[0], row[1], row[2])

    def restart(self, *, kill: bool) -> bool:
        self._server.stop(kill=kill)
        self._server.start()
        return True

    def close(self) -> None:
        self._running.__exit__(None, None, None)
