"""Events and catalog on a NATS that may be restarted, vectors in the embedded file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

from nats.aio.client import Client

from recsys_cli.catalogs.nats_kv import BUCKET, NatsCatalog
from recsys_cli.connections.nats import NatsConnection
from tests.chaos.oracle import Entry
from tests.chaos.world import EmbeddedWorld
from tests.nats_cluster import NatsCluster
from tests.nats_server import NatsServer, settings_of

# Some of the poison is larger than the megabyte that a server takes as it comes.
CONFIG = "max_payload: 4MB\n"
NAME, SUBJECT = "product-updates", "product.updates.foreign"
LEDGERS = "KV_product-updates-groups"


class NatsWorld(EmbeddedWorld):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "nats").mkdir()
        self._server = self._make_server(folder / "nats")
        self._server.start()
        self.environment |= settings_of(self._server.url)
        catalog = NatsCatalog(NatsConnection(self._server.url))
        # The first use makes the bucket, which the damage of a product needs.
        catalog.model_checksum()
        catalog.close()

    def _make_server(self, folder: Path) -> NatsServer | NatsCluster:
        return NatsServer(folder, CONFIG)

    def append(self, entry: Mapping[str, str]) -> None:
        self._publish(SUBJECT, json.dumps(dict(entry)))

    def entries(self) -> list[Entry]:
        async def read(client: Client) -> list[Entry]:
            jetstream = client.jetstream()
            state = (await jetstream.stream_info(NAME)).state
            entries: list[Entry] = []
            for number in range(state.first_seq, state.last_seq + 1):
                message = await jetstream.get_msg(NAME, number)
                fields = json.loads(message.data or b"")
                entries.append((f"{number}-0", {n: _text(v) for n, v in fields.items()}))
            return entries

        return self._server.ask(read)

    def damage(self, product_id: str) -> None:
        self._publish(f"$KV.{BUCKET}.state.{product_id}", "not a state")

    def restart(self, *, kill: bool) -> bool:
        self._server.stop(kill=kill)
        self._server.start()
        return True

    def close(self) -> None:
        self._server.stop()

    def _publish(self, subject: str, text: str) -> None:
        async def publish(client: Client) -> None:
            await client.jetstream().publish(subject, text.encode())

        self._server.ask(publish)


class NatsClusterWorld(NatsWorld):
    """The same on three servers; one that leads what matters is lost, and comes back."""

    def _make_server(self, folder: Path) -> NatsCluster:
        self._cluster = NatsCluster(folder, CONFIG)
        self._led = cycle([NAME, LEDGERS, f"KV_{BUCKET}"])
        return self._cluster

    def restart(self, *, kill: bool) -> bool:
        self._cluster.lose_leader(next(self._led), kill=kill)
        return True


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
