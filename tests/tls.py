"""TLS before a server that has none: a proxy with certificates of its own, gone after the block."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

PATIENCE_S = 20.0


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
        return self.files(folder, "client")

    def files(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Write a certificate for these names and its key; return where they are."""
        issued = self.ca.issue_cert(*names)
        certificate, key = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key


class _Proxy(socketserver.ThreadingTCPServer):
    """One thread a connection; ``server_close`` waits for all of them."""

    def __init__(self, port: int, context: ssl.SSLContext, *, asked: int, answer: bytes) -> None:
        self.port = port
        self.context = context
        self.asked = asked
        self.answer = answer
        self.inner_ends: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def end_connections(self) -> None:
        for end in list(self.inner_ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.BaseRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        with (
            # A handshake that fails is what some tests are about; the client tells of it.
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.server.port), PATIENCE_S) as inner,
        ):
            self.server.inner_ends.add(inner)
            self.request.settimeout(PATIENCE_S)
            if self.server.asked:
                self.request.recv(self.server.asked, socket.MSG_WAITALL)
                self.request.sendall(self.server.answer)
            with self.server.context.wrap_socket(self.request, server_side=True) as outer:
                _relay(outer, inner)
            self.server.inner_ends.discard(inner)


def _relay(outer: ssl.SSLSocket, inner: socket.socket) -> None:
    """Pass on what either side sends until one of them has no more to say."""
    while True:
        ready = [outer] if outer.pending() else select.select([outer, inner], [], [])[0]
        for end in ready:
            chunk = end.recv(1 << 16)
            if not chunk:
                return
            (inner if end is outer else outer).sendall(chunk)


@contextlib.contextmanager
def tls_proxy(
    port: int, context: ssl.SSLContext, *, asked: int = 0, answer: bytes = b""
) -> Iterator[int]:
    """Yield the loopback port that speaks TLS and passes everything on to ``port``.

    ``answer``: what is said in plain text to the first ``asked`` bytes, for protocols that ask.
    """
    with _Proxy(port, context, asked=asked, answer=answer) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,), name="tls-proxy")
        thread.start()
        try:
            yield proxy.server_address[1]
        finally:
            proxy.shutdown()
            thread.join()
            proxy.end_connections()
