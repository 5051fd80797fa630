"""All there is to know about talking to NATS; the other ``nats_*`` beside this are part of it.

The driver is asynchronous and everything else here is not: its event loop runs in a thread of its
own, begun with the first call and ended by ``close``.

The driver's own reconnecting is switched off. It would keep what was published during an outage and
send it later, after its caller was told that it had failed. Here a call on a lost connection fails
at once, the next one connects again, and only the caller knows how long to wait.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nats import errors as driver
from nats.aio.client import Client
from nats.js.errors import APIError

from recsys_cli.connections.nats_access import Access, access
from recsys_cli.connections.nats_client import SafeClient, server_version
from recsys_cli.connections.nats_errors import DRIVER_ERRORS, translation
from recsys_cli.connections.nats_protocol import NO_STREAM, REQUEST_TIMEOUT_S, told
from recsys_cli.domain import Health
from recsys_cli.errors import BackendUnavailable

CONNECT_TIMEOUT_S = 5
PING_INTERVAL_S = 10
UNANSWERED_PINGS = 2
"""A server that leaves this many unanswered is gone."""

CALL_TIMEOUT_S = 60.0
JOIN_TIMEOUT_S = 5.0

Result = TypeVar("Result")
Work = Callable[[Client], Coroutine[Any, Any, Result]]


class NatsConnection:
    """One connection to NATS, made when needed and shared by adapters and threads.

    See ``nats_access.access`` for the arguments. Closing ends it and fails what still runs on it;
    the next call opens another.
    """

    def __init__(self, url: str, **login: str | None) -> None:
        self._access = access(url, **login)
        self._lock = threading.Lock()
        self._session: _Session | None = None

    @property
    def address(self) -> str:
        """Where NATS is, for people: ``host:port``, several with commas between."""
        return self._access.address

    def call(self, work: Work[Result], timeout_s: float = CALL_TIMEOUT_S) -> Result:
        """Run ``work`` on the event loop, connected, and return its result.

        Raises BackendUnavailable when the connection is lost meanwhile, or after ``timeout_s``.
        """
        return self.begin(work, timeout_s)()

    def begin(self, work: Work[Result], timeout_s: float = CALL_TIMEOUT_S) -> Callable[[], Result]:
        """Do as ``call`` does, but return at once; what is returned waits for the end."""
        with self._lock:
            if self._session is None:
                self._session = _Session(self._access)
            session = self._session
            future = asyncio.run_coroutine_threadsafe(session.run(work), session.loop)

        def result() -> Result:
            try:
                return future.result(timeout_s)
            except concurrent.futures.CancelledError:
                raise BackendUnavailable(f"the connection to {self.address} was closed") from None
            except DRIVER_ERRORS as error:
                has_login = self._access.has_login
                raise translation(self.address, error, has_login=has_login) from error
            finally:
                # Also when interrupted: nobody waits for it any longer.
                future.cancel()

        return result

    def health(self, part: str, stream: str) -> Health:
        """Return who answers for ``part``, be there its ``stream`` or not yet.

        Raises BackendUnavailable where none has JetStream, BackendRefused where the account has
        none.
        """
        version = self.call(lambda client: _version(client, stream))
        return Health(
            part=part,
            address=self.address,
            version=f"NATS {version}",
            details="JetStream",
        )

    def close(self) -> None:
        """End the connection and its thread. Closing twice is harmless."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()


class _Session:
    """The thread, its event loop and the driver's client; all but the first and last run there."""

    def __init__(self, how: Access) -> None:
        self._access = how
        self.loop = asyncio.new_event_loop()
        self._client: SafeClient | None = None
        self._connecting = asyncio.Lock()
        self._ending = asyncio.Event()
        self._running = 0
        self._said: Exception = driver.NoServersError()
        self._trouble: asyncio.Future[Exception] = self.loop.create_future()
        self._thread = threading.Thread(target=self._main, name="recsys-nats", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(JOIN_TIMEOUT_S)

    async def run(self, work: Work[Result]) -> Result:
        """Return what ``work`` does, or raise what the connection has to tell meanwhile."""
        if self._trouble.done():
            raise self._told()
        client = await self._connected()
        trouble, task = self._trouble, asyncio.ensure_future(work(client))
        self._running += 1
        try:
            await asyncio.wait((task, trouble), return_when=asyncio.FIRST_COMPLETED)
            if trouble.done() and (not task.done() or _is_denial(trouble.result())):
                raise trouble.result()
            return await task
        finally:
            self._running -= 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is not None and not self._client.is_alive:
                await self._client.end()
                self._client = None
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> SafeClient:
        """Connect to any server that answers; those that do not are passed over."""
        last: Exception = driver.NoServersError()
        for server in random.sample(self._access.servers, len(self._access.servers)):
            client = SafeClient(is_encrypted=self._access.is_encrypted)
            try:
                await client.connect(
                    server,
                    allow_reconnect=False,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=PING_INTERVAL_S,
                    max_outstanding_pings=UNANSWERED_PINGS,
                    error_cb=self._on_error,
                    closed_cb=self._on_close,
                    name="recsys",
                    **self._access.options,
                )
            except driver.NoServersError:
                last = self._said
            except (OSError, TimeoutError) as error:
                last = error
            finally:
                if not client.is_alive:
                    await client.end()
            if client.is_alive:
                return client
        raise last

    async def _on_error(self, error: Exception) -> None:
        self._said = error
        if _is_denial(error):
            # It does not say which call it is about, and that one would wait in vain.
            self._tell(error)

    async def _on_close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._running:
            self._tell(client.last_error or driver.ConnectionClosedError())

    def _tell(self, error: Exception) -> None:
        """Fail what runs, or what comes next if nothing does."""
        if not self._trouble.done():
            self._trouble.set_result(error)
        if self._running:
            self._told()

    def _told(self) -> Exception:
        told, self._trouble = self._trouble, self.loop.create_future()
        return told.result()

    def _main(self) -> None:
        # What still runs when it ends is cancelled.
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        await self._ending.wait()
        if self._client is not None:
            await self._client.end()


def _is_denial(error: Exception) -> bool:
    return "permissions violation" in str(error).lower()


async def _version(client: Client, stream: str) -> str:
    # Of all the questions the one that also a user with few permissions may ask.
    reply = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=REQUEST_TIMEOUT_S)
    try:
        told(reply)
    except APIError as error:
        if error.err_code != NO_STREAM:
            raise
    return server_version(client)
