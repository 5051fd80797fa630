"""Events and catalog on a Postgres that may be restarted, vectors in the embedded file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_cli.catalogs.supabase import SupabaseCatalog
from recsys_cli.connections.postgres import PostgresConnection
from tests.chaos.oracle import Entry
from tests.chaos.world import AUDIT, STREAM, EmbeddedWorld
from tests.postgres import PostgresServer


class SupabaseWorld(EmbeddedWorld):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        home = folder / "postgres"
        home.mkdir()
        for place in (folder, *folder.parents):
            if place.stat().st_mode & 0o001 == 0:
                # The server's user must reach its data.
                place.chmod(place.stat().st_mode | 0o011)
        self._server = PostgresServer(home)
        self._server.create()
        catalog = SupabaseCatalog(PostgresConnection(self._server.url, schema="recsys"))
        # The first use makes the tables, which the damage of a product needs.
        catalog.model_checksum()
        catalog.close()
        self.environment |= {
            "EVENT_PROCESSOR_TYPE": "supabase",
            "SUPABASE_DB_URL": self._server.url,
        }

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

    def restart(self, *, kill: bool) -> bool:
        self._server.stop(kill=kill)
        self._server.start()
        return True

    def close(self) -> None:
        self._server.stop()
