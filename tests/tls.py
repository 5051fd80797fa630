"""TLS before a server that has none: a proxy with certificates of its own, gone after the block."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Authority:
    """A CA and the file that has its certificate, to be trusted or not."""

    ca: trustme.CA
    file: Path

    @classmethod
    def in_folder(cls, folder: Path) -> Authority:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        return cls(ca, folder / "ca.pem")

    def server_side(self, *names: str, asks_client: bool = False) -> ssl.SSLContext:
        """Return what a server of these names uses; ``asks_client`` for a certificate as well."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        if asks_client:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_files(self, folder: Path) -> tuple[Path, Path]:
        """Write a client's certificate and key; return where they are."""
        issued = self.ca.issue_cert("client")
        certificate, key = folder / "client.pem", folder / "client.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key


@contextlib.contextmanager
def tls_proxy(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Yield the loopback port that speaks TLS and passes everything on to ``port``."""
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(port, context, started)), name="tls-proxy"
    )
    thread.start()
    tls_port, loop, stop = started.result(timeout=20)
    try:
        yield tls_port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=20)
        assert not thread.is_alive()


async def _serve(
    port: int,
    context: ssl.SSLContext,
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        with contextlib.suppress(OSError):
            await _join(reader, writer, port)

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    # Handshakes that fail are what some tests are about; the client tells of them.
    loop.set_exception_handler(lambda *_: None)
    server = await asyncio.start_server(accept, "127.0.0.1", ssl=context)
    started.set_result((server.sockets[0].getsockname()[1], loop, stop))
    await stop.wait()
    server.close()
    for task in list(connections):
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


async def _join(reader: StreamReader, writer: StreamWriter, port: int) -> None:
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    ways = [
        asyncio.create_task(_pass_on(reader, inner_writer)),
        asyncio.create_task(_pass_on(inner_reader, writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, inner_writer):
            end.transport.abort()
            with contextlib.suppress(OSError):
                await end.wait_closed()


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    while chunk := await reader.read(1 << 16):
        writer.write(chunk)
        await writer.drain()
