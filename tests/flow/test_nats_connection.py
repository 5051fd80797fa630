"""The connection to NATS: lost, closed, denied or interrupted, it says so at once and goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from nats.aio.client import Client

from recsys_cli.connections.nats import NatsConnection
from recsys_cli.errors import BackendRefused, BackendUnavailable
from tests.nats_server import NatsServer, running_nats
from tests.servers import free_port, wait_until

AT_ONCE_S = 5.0


@pytest.fixture
def server() -> Iterator[NatsServer]:
    """A server of its own, to be stopped."""
    with running_nats() as server:
        yield server


@pytest.fixture
def connection(server: NatsServer, closing: Callable[[object], None]) -> NatsConnection:
    connection = NatsConnection(server.url)
    closing(connection)
    return connection


class Hanging:
    """A call that waits for what never comes, in a thread of its own."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._began = threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._call)
        self._thread.start()
        assert self._began.wait(20)
        self._since = time.monotonic()

    def ended(self) -> str:
        self._thread.join(20)
        assert time.monotonic() - self._since < AT_ONCE_S
        assert isinstance(self.error, BackendUnavailable | BackendRefused)
        return str(self.error)

    async def _wait(self, _: Client) -> None:
        self._began.set()
        await asyncio.get_running_loop().create_future()

    def _call(self) -> None:
        try:
            self._connection.call(self._wait)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is looked at
            self.error = error


async def ping(client: Client) -> str:
    await client.flush()
    return "pong"


@pytest.mark.parametrize("kill", [True, False])
def test_a_lost_server_fails_what_runs_and_is_found_again(
    kill: bool, server: NatsServer, connection: NatsConnection
) -> None:
    hanging = Hanging(connection)
    server.stop(kill=kill)
    assert "has gone away" in hanging.ended()
    with pytest.raises(BackendUnavailable, match=r"does not answer \(Connection refused\)"):
        connection.call(ping)
    server.start()
    assert connection.call(ping) == "pong"


def test_a_server_that_was_away_between_two_calls_is_not_noticed(
    server: NatsServer, connection: NatsConnection
) -> None:
    assert connection.call(ping) == "pong"
    server.stop(kill=True)
    server.start()
    wait_until(lambda: _pong(connection), 20, "it answers again")
    assert connection.call(ping) == "pong"


def _pong(connection: NatsConnection, timeout_s: float = 20) -> bool:
    try:
        return connection.call(ping, timeout_s) == "pong"
    except BackendUnavailable:
        return False


def test_a_frozen_server_does_not_answer_in_time(
    server: NatsServer, connection: NatsConnection
) -> None:
    assert connection.call(ping) == "pong"
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        # The signal may take a moment to arrive.
        wait_until(lambda: not _pong(connection, 0.2), 20, "it is silent")
        with pytest.raises(BackendUnavailable, match="does not answer in time"):
            connection.call(ping, 0.2)
        start = time.monotonic()
        connection.close()
        assert time.monotonic() - start < AT_ONCE_S
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert connection.call(ping) == "pong"


def test_closing_fails_what_runs_and_the_next_call_opens_again(connection: NatsConnection) -> None:
    hanging = Hanging(connection)
    connection.close()
    connection.close()
    assert "was closed" in hanging.ended()
    assert connection.call(ping) == "pong"
    assert sum(thread.name == "recsys-nats" for thread in threading.enumerate()) == 1


def test_one_call_does_not_wait_for_another(connection: NatsConnection) -> None:
    hanging = Hanging(connection)
    assert connection.call(ping) == "pong"
    later = connection.begin(ping)
    assert connection.call(ping) == "pong"
    assert later() == "pong"
    connection.close()
    hanging.ended()


@pytest.fixture
def one_interrupt() -> Iterator[None]:
    """Let the first SIGINT interrupt and others do nothing."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("one_interrupt")
def test_ctrl_c_ends_a_call(connection: NatsConnection) -> None:
    cancelled = threading.Event()

    async def wait(_: Client) -> None:
        try:
            while True:
                # Python may overlook one that comes in the moment before it begins to wait.
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(0.1)
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        connection.call(wait)
    assert cancelled.wait(20)
    assert connection.call(ping) == "pong"


def test_a_process_that_does_not_close_ends_all_the_same(server: NatsServer) -> None:
    code = (
        "from recsys_cli.connections.nats import NatsConnection\n"
        f"print(NatsConnection({server.url!r}).health('events', 'any').version)"
    )
    command = [sys.executable, "-X", "dev", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("NATS 2.")


def test_any_of_several_servers_will_do(
    server: NatsServer, closing: Callable[[object], None]
) -> None:
    nobody = f"nats://127.0.0.1:{free_port()}"
    for url in (f"{nobody},{server.url}", f"{server.url},{nobody}"):
        connection = NatsConnection(url)
        closing(connection)
        assert connection.call(ping) == "pong"
    lost = NatsConnection(f"{nobody},{nobody}")
    closing(lost)
    with pytest.raises(BackendUnavailable, match="does not answer"):
        lost.call(ping)


def permitting(permissions: str) -> str:
    user = f'{{ user: shop, password: "pw", permissions: {{ {permissions} }} }}'
    return f"authorization {{ users: [{user}] }}\n"


def test_what_the_user_may_not_do_is_named_at_once(closing: Callable[[object], None]) -> None:
    with running_nats(permitting('publish: ["free"], subscribe: ["_INBOX.>"]')) as server:
        connection = NatsConnection(server.url, user="shop", password="pw")  # noqa: S106
        closing(connection)

        async def ask(client: Client) -> None:
            await client.request("$JS.API.INFO", timeout=30)

        async def listen(client: Client) -> None:
            await client.subscribe("others.>")
            await asyncio.get_running_loop().create_future()

        for work, words in ((ask, r"publish to \$JS\.API\.INFO"), (listen, "subscribe to others")):
            start = time.monotonic()
            with pytest.raises(BackendRefused, match="does not let this user " + words):
                connection.call(work)
            assert time.monotonic() - start < AT_ONCE_S
        assert connection.call(ping) == "pong"


def test_what_was_denied_to_nobody_waiting_is_told_to_the_next(
    closing: Callable[[object], None],
) -> None:
    with running_nats(permitting('publish: ["free"]')) as server:
        connection = NatsConnection(server.url, user="shop", password="pw")  # noqa: S106
        closing(connection)

        async def send(client: Client) -> None:
            await client.publish("denied")

        connection.call(send)

        def told() -> bool:
            try:
                return connection.call(ping) != "pong"
            except BackendRefused as error:
                return "publish to denied" in str(error)

        wait_until(told, 20, "the next one is told")
        assert connection.call(ping) == "pong"


def test_an_account_without_jetstream_says_so() -> None:
    config = (
        "accounts { SYS { users: [{ user: sys, password: s }] }\n"
        "SHOP { users: [{ user: shop, password: p }] } }\nsystem_account: SYS\n"
    )
    with running_nats(config) as server:
        connection = NatsConnection(server.url, user="shop", password="p")  # noqa: S106
        try:
            with pytest.raises(BackendRefused, match="switched off for this account"):
                connection.health("events", "any")
        finally:
            connection.close()


def test_a_server_without_jetstream_says_so() -> None:
    with running_nats(jetstream=False) as server:
        connection = NatsConnection(server.url)
        try:
            with pytest.raises(BackendUnavailable, match="nobody answers for JetStream") as error:
                connection.health("events", "any")
            assert "nats-server -js" in error.value.hint
        finally:
            connection.close()
