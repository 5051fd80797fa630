"""Three real NATS servers with JetStream that form a cluster on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import StreamInfo

from tests.nats_server import NatsServer, asked, delete_streams
from tests.servers import free_port, wait_until

Result = TypeVar("Result")
SIZE = 3
_META_LEADER = re.compile(r"\[\d+\] (\S+ \S+) .* new metadata leader: ([^\s/]+)")


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
        with self.without(lost, kill=kill):
            wait_until(lambda: self._leads(stream) not in ("", lost), 60, "another server leads")

    @contextmanager
    def without(self, name: str, *, kill: bool) -> Iterator[None]:
        """Stop a server for the length of the block."""
        self.servers[name].stop(kill=kill)
        try:
            yield
        finally:
            self.servers[name].start()
        wait_until(self._is_whole, 60, "all servers have caught up")

    def meta_leader(self) -> str:
        """Return the server that leads the cluster itself, which only its logs say to everybody."""
        said = [
            (line[1], line[2])
            for server in self.servers.values()
            for line in _META_LEADER.finditer((server.folder / "nats.log").read_text())
        ]
        return max(said)[1]

    def lead(self, what: str, name: str) -> None:
        """Have ``STREAM.{stream}`` or ``CONSUMER.{stream}.{consumer}`` led by this server."""
        kind, _, whose = what.partition(".")
        request = json.dumps({"placement": {"preferred": name}}).encode()

        async def leads(client: Client) -> bool:
            with suppress(NatsTimeout):
                info = await client.request(f"$JS.API.{kind}.INFO.{whose}", timeout=1)
                if json.loads(info.data).get("cluster", {}).get("leader") == name:
                    return True
                await client.request(f"$JS.API.{kind}.LEADER.STEPDOWN.{whose}", request, timeout=1)
            return False

        wait_until(lambda: self.ask(leads), 60, f"{name} leads {what}")

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
