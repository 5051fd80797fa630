"""All there is to know about talking to Redis; ``redis_pool`` and ``redis_errors`` are part of it.

Replies come as the protocol has them (RESP2: bytes, int, None, nested lists): the driver's own
shapes change from one release, and one protocol version, to the next. Nothing is tried again here:
a repeated XADD would be a second event, and only the caller knows how long to wait.

The driver makes the connections; its pipelines are left alone, since they take three times as long
to do the same (``python -m tests.benchmarks trips``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import redis
from hiredis import pack_command

from recsys_cli.batches import batched
from recsys_cli.connections.redis_errors import (
    CommandUnavailable,
    ErrorReply,
    GroupGone,
    ScriptForgotten,
    translation,
)
from recsys_cli.connections.redis_pool import connection_pool
from recsys_cli.domain import Health
from recsys_cli.seen import SeenIds

__all__ = [
    "Argument",
    "Command",
    "CommandUnavailable",
    "ErrorReply",
    "GroupGone",
    "LuaScript",
    "RedisConnection",
    "Replies",
    "Reply",
    "flat",
    "pairs",
]

COMMANDS_A_TRIP = 1000
KEYS_A_PAGE = 1000

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = Sequence[Argument]
Keys: TypeAlias = tuple[str, ...]
Reply: TypeAlias = Any
"""bytes, int, None or a list of replies: what the protocol says, which no type can."""

Replies: TypeAlias = Callable[[], list[Reply]]
"""Waits for the replies to what was sent, and returns them."""

_pack: Callable[[tuple[Argument, ...]], bytes] = pack_command  # type: ignore[assignment]  # its stub knows tuples of one


class LuaScript:
    """A script in files of its own, one after the other; sent once, then called by its digest."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    @cached_property
    def source(self) -> str:
        return "\n".join(path.read_text(encoding="utf-8") for path in self._paths)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisConnection:
    """Connections to one Redis, made when needed and shared by adapters and threads.

    See ``connection_pool`` for the arguments. Closing lets go of idle connections; the next use
    opens new ones.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        ca_certs: str | None = None,
    ) -> None:
        self._pool = connection_pool(url, username, password, ca_certs)
        self._loaded: set[str] = set()

    @cached_property
    def address(self) -> str:
        """Where Redis is, for people: ``host:port``, ``host:port/db`` or the socket's path."""
        options = self._pool.connection_kwargs
        if "path" in options:
            return str(options["path"])
        database = options.get("db") or 0
        place = f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        return f"{place}/{database}" if database else place

    def call(self, *command: Argument) -> Reply:
        """Return the reply to one command."""
        (reply,) = self.pipeline([command])
        return reply

    def pipeline(self, commands: Iterable[Command]) -> list[Reply]:
        """Send the commands, a thousand a trip, and return their replies.

        Raises the first error; the other commands of the same trip have been carried out, those
        of later trips have not been sent.
        """
        return self.begin(commands)()

    def begin(self, commands: Iterable[Command]) -> Replies:
        """Send the first trip of a pipeline, and return what takes its replies and makes the rest.

        That is to be called once, in whatever happens: a connection is kept for it.
        """
        trips = batched(commands, COMMANDS_A_TRIP)
        first = next(trips, None)
        arrive = self._depart(first) if first else list

        def replies() -> list[Reply]:
            found = arrive()
            for trip in trips:
                found += self._depart(trip)()
            return found

        return replies

    def run(self, script: LuaScript, calls: Iterable[tuple[Keys, Command]]) -> list[Reply]:
        """Run the script once for each (keys, arguments) and return the replies."""
        return self.begin_run(script, calls)()

    def begin_run(self, script: LuaScript, calls: Iterable[tuple[Keys, Command]]) -> Replies:
        """Do as ``run`` does, but return as ``begin`` does."""
        commands = [("EVALSHA", script.digest, len(keys), *keys, *args) for keys, args in calls]
        if commands and script.digest not in self._loaded:
            self._load(script)
        arrive = self.begin(commands)

        def replies() -> list[Reply]:
            try:
                return arrive()
            except ScriptForgotten:
                # Restarted or flushed. What has run already runs again: scripts must not mind.
                self._load(script)
                return self.pipeline(commands)

        return replies

    def scan(self, prefix: str) -> Iterator[list[bytes]]:
        """Yield the keys that begin with ``prefix``, page by page, each once.

        SCAN itself may return a key twice, so what was seen is remembered (see ``SeenIds``).
        """
        cursor, seen = b"0", SeenIds()
        while True:
            cursor, keys = self.call("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_A_PAGE)
            again = seen.add(keys)
            if fresh := [key for key, is_again in zip(keys, again, strict=True) if not is_again]:
                yield fresh
            if cursor == b"0":
                return

    def health(self, part: str) -> Health:
        """Return who answers for ``part``, and whether it can search."""
        # HELLO tells every user what INFO and MODULE LIST tell the privileged.
        facts = pairs(self.call("HELLO"))
        search = _search_version(map(pairs, facts.get(b"modules", [])))
        return Health(
            part=part,
            address=self.address,
            version=f"Redis {facts[b'version'].decode()}",
            details=f"search {search}" if search else "no search module",
        )

    def close(self) -> None:
        """Close the connections that nobody is using. Closing twice is harmless."""
        self._pool.disconnect(inuse_connections=False)

    def _load(self, script: LuaScript) -> None:
        self.call("SCRIPT", "LOAD", script.source)
        self._loaded.add(script.digest)

    def _depart(self, trip: Sequence[Command]) -> Replies:
        """Send one trip; raises the first error of its replies when they are taken."""
        attempt = _Attempt(self._pool, self.address, str(trip[0][0]))
        with attempt:
            link = attempt.link = self._pool.get_connection()
            packed = b"".join(map(_pack, map(tuple, trip)))
            link.send_packed_command([packed])  # type: ignore[no-untyped-call]

        def arrive() -> list[Reply]:
            with attempt:
                replies = [_reply(link) for _ in trip]
            self._pool.release(link)
            for command, reply in zip(trip, replies, strict=True):
                if isinstance(reply, Exception):
                    raise translation(self.address, reply, str(command[0])) from reply
            return replies

        return arrive


class _Attempt:
    """Within it the driver's errors become ours, and cost the connection: a reply may be left."""

    __slots__ = ("_address", "_command", "_pool", "link")

    def __init__(self, pool: redis.ConnectionPool, address: str, command: str) -> None:
        self._pool = pool
        self._address = address
        self._command = command
        self.link: redis.Connection | None = None

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        if self.link is not None:
            self.link.disconnect()  # type: ignore[no-untyped-call]
            self._pool.release(self.link)
        if isinstance(error, redis.RedisError | OSError | UnicodeError):
            raise translation(self._address, error, self._command) from error


def _reply(link: redis.Connection) -> Reply:
    try:
        return link.read_response(disable_decoding=True)
    except redis.ResponseError as error:
        return error


def _search_version(modules: Iterable[Mapping[bytes, Reply]]) -> str | None:
    for module in modules:
        if module[b"name"] in (b"search", b"searchlight"):
            major, rest = divmod(module[b"ver"], 10_000)
            return f"{major}.{rest // 100}.{rest % 100}"
    return None


def pairs(reply: Sequence[Reply]) -> dict[bytes, Reply]:
    """Return a flat list of names and values, the protocol's form of a map, as a dict."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def flat(fields: Mapping[str, Argument]) -> list[Argument]:
    """Return names and values in turn, as commands take them."""
    return [part for field in fields.items() for part in field]
