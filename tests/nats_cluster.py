"""Three real NATS servers with JetStream that form a cluster on loopback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamInfo

from tests.nats_server import NatsServer, asked, delete_streams
from tests.servers import free_port, wait_until

Result = TypeVar("Result")
SIZE = 3


class NatsCluster:
    """Begins as it is called a server; its URL names all three."""

    def __init__(self, folder: Path, config: str = "") -> None:
        routes = [f"nats://127.0.0.1:{free_port()}" for _ in range(SIZE)]
        self.servers: dict[str, NatsServer] = {}
        for number, route in enumerate(routes):
            name = f"server-{number}"
            (folder / name).mkdir()
            cluster = (
                f"server_name: {name}\ncluster {{ name: shop, listen: {route.split('//')[1]}\n"
                f"routes: [{', '.join(routes)}] }}\n"
            )
            self.servers[name] = NatsServer(folder / name, config + cluster)

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers.values())

    def start(self) -> None:
        for server in self.servers.values():
            server.start()
        wait_until(self._is_formed, 60, "the cluster has a leader and three members")

    def stop(self, *, kill: bool = False) -> None:
        for server in self.servers.values():
            server.stop(kill=kill)

    def ask(self, work: Callable[[Client], Awaitable[Result]]) -> Result:
        """Run ``work`` on a connection of its own, to any of those that run."""

        async def ignore(_: Exception) -> None: ...

        urls = [server.url for server in self.servers.values() if server.process]
        return asked(urls, work, error_cb=ignore)

    def clear(self) -> None:
        """Delete every stream, and so every consumer and bucket."""
        self.ask(delete_streams)

    def lose_leader(self, stream: str, *, kill: bool) -> None:
        """Stop the server that leads this stream, see another one lead it, and start it again."""
        lost = self.leader(stream)
        self.servers[lost].stop(kill=kill)
        wait_until(lambda: self._leads(stream) not in ("", lost), 60, "another server leads")
        self.servers[lost].start()
        wait_until(self._is_whole, 60, "all servers have caught up")

    def leader(self, stream: str) -> str:
        wait_until(lambda: self._leads(stream), 60, f"a server leads {stream}")
        return self._leads(stream)

    def _leads(self, stream: str) -> str:
        found = [info for info in self._streams() if info.config.name == stream]
        return (found[0].cluster.leader or "") if found and found[0].cluster else ""

    def _streams(self) -> list[StreamInfo]:
        """Return all streams, none while the cluster cannot tell."""

        async def look(client: Client) -> list[StreamInfo]:
            return await client.jetstream(timeout=2).streams_info()

        try:
            return self.ask(look)
        except (Error, OSError, TimeoutError):
            return []

    def _is_whole(self) -> bool:
        clusters = [info.cluster for info in self._streams()]
        return bool(clusters) and all(
            cluster is not None
            and cluster.leader
            and len(cluster.replicas or []) == SIZE - 1
            and all(peer.current and not peer.offline for peer in cluster.replicas or [])
            for cluster in clusters
        )

    def _is_formed(self) -> bool:
        async def probe(client: Client) -> None:
            jetstream = client.jetstream(timeout=2)
            await jetstream.add_stream(name="probe", subjects=["probe"], num_replicas=SIZE)
            await jetstream.delete_stream("probe")

        try:
            self.ask(probe)
        except (Error, OSError, TimeoutError):
            return False
        return True
