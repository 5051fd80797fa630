"""A transaction pooler before Postgres, such as Supabase has on port 6543.

Each transaction of a client goes to another of the server's sessions than the one before. So what
a session keeps (prepared statements, SET, LISTEN, advisory locks) is elsewhere the next time, and
what a client may not rely on breaks. The server has to trust the user, whose password the pooler
does not know.
"""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import struct
import threading
from collections import deque
from collections.abc import Iterator

PATIENCE_S = 20.0
_PROTOCOL_3 = 196608
_SESSIONS = 8
_ANSWERED_ONCE = (b"Q", b"S", b"F")
"""What the server answers with ReadyForQuery: a query, the end of a pipeline, a function call."""


class _End:
    """One end of a connection: whole messages go in and out."""

    def __init__(self, end: socket.socket) -> None:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = end
        self._held = b""

    def startup(self) -> bytes:
        """Return the first message, which has no type; those that ask for encryption are denied."""
        while True:
            length = struct.unpack("!I", self._exactly(4))[0]
            body = self._exactly(length - 4)
            if struct.unpack("!I", body[:4])[0] == _PROTOCOL_3:
                return struct.pack("!I", length) + body
            self.socket.sendall(b"N")

    def message(self) -> tuple[bytes, bytes]:
        """Return type and whole of the next message; an empty one where there is no more."""
        head = self._exactly(5)
        return head[:1], head + self._exactly(struct.unpack("!I", head[1:])[0] - 4)

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield what has arrived, one at least."""
        yield self.message()
        while self.holds_message():
            yield self.message()

    def holds_message(self) -> bool:
        return len(self._held) >= 5 and len(self._held) > struct.unpack("!I", self._held[1:5])[0]

    def _exactly(self, count: int) -> bytes:
        while len(self._held) < count:
            chunk = self.socket.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError
            self._held += chunk
        taken, self._held = self._held[:count], self._held[count:]
        return taken


class _Session(_End):
    """One session of the server, ready for a transaction."""

    def __init__(self, port: int, startup: bytes) -> None:
        super().__init__(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
        self.socket.sendall(startup)
        self.greeting = b""
        while True:
            kind, message = self.message()
            if kind == b"E":
                self.socket.close()
                raise ConnectionRefusedError(message)
            # Not who answers: that is another one each time.
            self.greeting += b"" if kind == b"K" else message
            if kind == b"Z":
                return


class _Pooler(socketserver.ThreadingTCPServer):
    def __init__(self, port: int) -> None:
        self.port = port
        self.free: dict[bytes, deque[_Session]] = {}
        self.lock = threading.Lock()
        self.outer_ends: set[socket.socket] = set()
        self.transactions = 0
        super().__init__(("127.0.0.1", 0), _Client)

    def lend(self, startup: bytes) -> _Session:
        """Return the session that has been idle the longest, a new one until there are enough."""
        with self.lock:
            self.transactions += 1
            free = self.free.setdefault(startup, deque())
            if len(free) >= _SESSIONS:
                return free.popleft()
        return _Session(self.port, startup)

    def give_back(self, startup: bytes, session: _Session) -> None:
        with self.lock:
            self.free[startup].append(session)

    def end(self) -> None:
        for end in list(self.outer_ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        # The threads end now; only then does nobody give a session back any more.
        self.server_close()
        for session in (s for free in self.free.values() for s in free):
            session.socket.close()


class _Client(socketserver.BaseRequestHandler):
    server: _Pooler

    def handle(self) -> None:
        self.server.outer_ends.add(self.request)
        self.request.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError):
            client = _End(self.request)
            startup = client.startup()
            try:
                session = self.server.lend(startup)
            except ConnectionRefusedError as refused:
                self.request.sendall(refused.args[0])
                return
            # A process number and a key for cancelling, neither of which is the server's.
            key = b"K" + struct.pack("!III", 12, 1_000_000_000, 0)
            ready = session.greeting[-6:]
            self.server.give_back(startup, session)
            self.request.sendall(session.greeting[:-6] + key + ready)
            while self._transaction(client, startup):
                pass
        self.server.outer_ends.discard(self.request)

    def _transaction(self, client: _End, startup: bytes) -> bool:
        """Pass on one transaction; return whether the client may have another."""
        self.request.settimeout(None)
        first = client.message()
        if first[0] == b"X":
            return False
        self.request.settimeout(PATIENCE_S)
        session = self.server.lend(startup)
        try:
            _relay(client, session, first)
        except OSError:
            # In the middle of something: nobody else may have it.
            session.socket.close()
            raise
        self.server.give_back(startup, session)
        return True


def _relay(client: _End, session: _Session, first: tuple[bytes, bytes]) -> None:
    """Pass on what either says until the server has answered all, outside of any transaction."""
    awaited = int(first[0] in _ANSWERED_ONCE)
    session.socket.sendall(first[1])
    while True:
        # What one end says has to leave at once, and together: small packets wait for each other.
        if client.holds_message() or client.socket in _readable(client, session):
            said = list(client.messages())
            if any(kind == b"X" for kind, _ in said):
                raise ConnectionResetError
            session.socket.sendall(b"".join(message for _, message in said))
            awaited += sum(kind in _ANSWERED_ONCE for kind, _ in said)
        else:
            said = list(session.messages())
            client.socket.sendall(b"".join(message for _, message in said))
            awaited -= sum(kind == b"Z" for kind, _ in said)
            if not awaited and said[-1][0] == b"Z" and said[-1][1].endswith(b"I"):
                return


def _readable(*ends: _End) -> list[socket.socket]:
    readable = select.select([end.socket for end in ends], [], [], PATIENCE_S)[0]
    if not readable:
        raise TimeoutError
    return readable


@contextlib.contextmanager
def transaction_pooler(port: int) -> Iterator[int]:
    """Yield the loopback port on which the server at ``port`` is reached through a pooler."""
    with _Pooler(port) as pooler:
        thread = threading.Thread(target=pooler.serve_forever, args=(0.01,), name="pooler")
        thread.start()
        try:
            yield pooler.server_address[1]
        finally:
            pooler.shutdown()
            thread.join()
            pooler.end()
