"""Every way of logging in to NATS, right and wrong: in, or one sentence that shows no secret."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_cli.connections.nats import NatsConnection
from recsys_cli.errors import BackendRefused, RecsysError, SettingsError
from tests.commands import Recsys
from tests.nats_operator import Operator
from tests.nats_server import NatsServer, running_nats
from tests.tls import Authority

PASSWORD = "odd / characters ? in # it @ too : é,"  # noqa: S105 - of users that live for a test
ENCODED = "odd%20%2F%20characters%20%3F%20in%20%23%20it%20%40%20too%20%3A%20%C3%A9%2C"


def answer(url: str, **login: str | None) -> str:
    connection = NatsConnection(url, **login)
    try:
        return connection.health("events", "any").version
    finally:
        connection.close()


def refusal(url: str, kind: type[RecsysError] = BackendRefused, /, **login: str | None) -> str:
    """Return the sentence and the hint; no secret is in them, nor anywhere on the way."""
    with pytest.raises(kind) as error:
        answer(url, **login)
    told = f"{error.value} {error.value.hint} {NatsConnection.__repr__}"
    for secret in (login.get("password"), login.get("token"), PASSWORD, ENCODED):
        assert not secret or secret not in told
    return f"{error.value}: {error.value.hint}"


@pytest.fixture(scope="module")
def with_user() -> Iterator[NatsServer]:
    with running_nats(f'authorization {{ user: "shop owner", password: "{PASSWORD}" }}') as server:
        yield server


@pytest.fixture(scope="module")
def with_token() -> Iterator[NatsServer]:
    with running_nats(f'authorization {{ token: "{PASSWORD}" }}') as server:
        yield server


@pytest.fixture(scope="module")
def operator() -> Operator:
    return Operator()


@pytest.fixture(scope="module")
def with_operator(operator: Operator) -> Iterator[NatsServer]:
    with running_nats(operator.config) as server:
        yield server


def test_user_and_password(with_user: NatsServer) -> None:
    assert answer(with_user.url, user="shop owner", password=PASSWORD).startswith("NATS 2.")
    url = with_user.url.replace("//", f"//shop%20owner:{ENCODED}@")
    assert answer(url).startswith("NATS 2.")
    named = with_user.url.replace("//", "//shop%20owner@")
    assert answer(named, password=PASSWORD).startswith("NATS 2.")
    assert answer(url.replace(ENCODED, "wrong"), user="shop owner", password=PASSWORD)


def test_a_wrong_user_or_password(with_user: NatsServer) -> None:
    for login in (
        {"user": "shop owner", "password": "hunter2"},
        {"user": "x"},
        {"token": "hunter2"},
    ):
        said = refusal(with_user.url, **login)
        assert "does not accept this login: set NATS_USER and NATS_PASSWORD" in said
    assert "hunter2" not in refusal(with_user.url.replace("//", "//shop%20owner:hunter2@"))
    assert "wants a login" in refusal(with_user.url)


def test_a_token(with_token: NatsServer) -> None:
    assert answer(with_token.url, token=PASSWORD).startswith("NATS 2.")
    assert answer(with_token.url.replace("//", f"//{ENCODED}@")).startswith("NATS 2.")
    assert "does not accept this login" in refusal(with_token.url, token="hunter2")  # noqa: S106
    assert "wants a login" in refusal(with_token.url)


def test_credentials(with_operator: NatsServer, operator: Operator, tmp_path: Path) -> None:
    own = operator.credentials(tmp_path / "own.creds")
    other = Operator().credentials(tmp_path / "other.creds")
    late = operator.credentials(tmp_path / "late.creds", exp=int(time.time()) - 10)
    assert answer(with_operator.url, credentials=str(own)).startswith("NATS 2.")
    for wrong in (other, late):
        said = refusal(with_operator.url, credentials=str(wrong))
        assert "does not accept this login" in said
    assert "wants a login" in refusal(with_operator.url)


def test_credentials_are_read_again_for_each_connection(
    with_operator: NatsServer, operator: Operator, tmp_path: Path
) -> None:
    file = operator.credentials(tmp_path / "shop.creds")
    connection = NatsConnection(with_operator.url, credentials=str(file))
    assert connection.health("events", "any").version
    connection.close()
    file.write_text("gone")
    with pytest.raises(SettingsError, match=r"shop\.creds"):
        connection.health("events", "any")
    operator.credentials(file)
    assert connection.health("events", "any").version
    connection.close()


def test_a_file_that_holds_no_credentials(tmp_path: Path) -> None:
    whole = Operator().credentials(tmp_path / "whole.creds").read_text()
    seed = whole.split("SEED-----\n")[1].split("\n")[0]
    for name, content, sentence in (
        ("empty", "", "holds no user's credentials"),
        ("half", whole.split("\n\n")[0], "holds no user's credentials"),
        ("damaged", whole.replace(seed, "AA" + seed[2:]), "holds a damaged key"),
        ("short", whole.replace(seed, seed[:20]), "holds a damaged key"),
        ("odd", whole.replace(seed, "é" + seed), "holds a damaged key"),
    ):
        (tmp_path / name).write_text(content)
        said = refusal("nats://localhost", SettingsError, credentials=str(tmp_path / name))
        assert sentence in said
        assert "NATS_CREDENTIALS" in said
        assert seed not in said
    said = refusal("nats://localhost", SettingsError, credentials=str(tmp_path / "absent"))
    assert "cannot be read: No such file" in said


class Tls:
    """The configuration of a server that speaks TLS under these names."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self._authority = authority
        self._folder = folder

    def config(self, *names: str, verify: bool = False) -> str:
        certificate, key = self._authority.files(self._folder, *names)
        return (
            f'tls {{ cert_file: "{certificate}", key_file: "{key}",'
            f' ca_file: "{self._authority.file}", verify: {str(verify).lower()} }}\n'
        )


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> Tls:
    return Tls(authority, tmp_path)


def test_tls(tls: Tls, authority: Authority, tmp_path: Path) -> None:
    trusted = str(authority.file)
    other = Authority.in_folder(tmp_path)
    login = f'authorization {{ user: shop, password: "{PASSWORD}" }}\n'
    with running_nats(tls.config("localhost") + login) as server:
        plain = f"nats://localhost:{server.port}"
        encrypted = f"tls://shop:{ENCODED}@localhost:{server.port}"
        assert answer(encrypted, ca_certs=trusted).startswith("NATS 2.")
        assert answer(plain, ca_certs=trusted, user="shop", password=PASSWORD).startswith("NATS 2.")
        for url in (plain, encrypted):
            said = refusal(url)
            assert "shows a certificate that is not trusted here: set NATS_CA_CERTS" in said
        assert "not trusted here" in refusal(encrypted, ca_certs=str(other.file))
        assert "does not accept this login" in refusal(plain, ca_certs=trusted, user="x")
        by_address = encrypted.replace("localhost", "127.0.0.1")
        assert "certificate for another" in refusal(by_address, ca_certs=trusted)


def test_a_server_that_wants_a_certificate_of_ours(tls: Tls, authority: Authority) -> None:
    with running_nats(tls.config("localhost", verify=True)) as server:
        said = refusal(f"tls://localhost:{server.port}", ca_certs=str(authority.file))
        assert "wants a certificate" in said


def test_no_login_is_sent_without_tls_where_tls_is_wanted(authority: Authority) -> None:
    """Whoever is in between could leave TLS out of the server's greeting."""
    heard = b""
    with socket.create_server(("127.0.0.1", 0)) as fake:

        def greet() -> None:
            nonlocal heard
            connection, _ = fake.accept()
            with connection:
                connection.sendall(b'INFO {"server_id":"x","version":"2.15.1","headers":true}\r\n')
                connection.settimeout(20)
                while chunk := connection.recv(1000):
                    heard += chunk

        thread = threading.Thread(target=greet)
        thread.start()
        port = fake.getsockname()[1]
        said = refusal(f"tls://shop:{ENCODED}@127.0.0.1:{port}")
        thread.join(20)
        assert "does not offer TLS" in said
        assert heard == b""
    with running_nats() as server:
        assert "does not offer TLS" in refusal(server.url, ca_certs=str(authority.file))


@pytest.mark.parametrize("content", ["", "no PEM"])
def test_a_file_of_authorities_that_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(content)
    said = refusal("tls://localhost", SettingsError, ca_certs=str(tmp_path / "ca.pem"))
    assert "NATS_CA_CERTS" in said
    assert "holds no PEM of use here" in said
    said = refusal("tls://localhost", SettingsError, ca_certs=str(tmp_path / "absent"))
    assert "No such file" in said


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO {\r\n", b"\xff" * 99999]
)
def test_what_is_no_nats(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as fake:

        def greet() -> None:
            connection, _ = fake.accept()
            with connection:
                connection.sendall(greeting)
                connection.settimeout(20)
                while connection.recv(1000):
                    pass

        thread = threading.Thread(target=greet)
        thread.start()
        said = refusal(f"nats://127.0.0.1:{fake.getsockname()[1]}")
        thread.join(20)
    assert "does not speak as NATS does: check NATS_URL" in said


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost", "localhost:4222", "nats://", "nats://h:port", "nats://h/path"),
        *(
            "nats://u:12/3hunter2@h",
            "nats://u:12,34hunter2@h",
            "nats://u:hunter2@h,other",
            "tls://h?x",
        ),
        *("nats://a,,nats://b", "redis://localhost", "nats://u:[hunter2@h"),
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    said = refusal(url, SettingsError)
    assert "is no address of a NATS server" in said
    assert "hunter2" not in said


def test_secrets_stay_out_of_all_that_is_printed(
    with_user: NatsServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_TYPE", "nats")
    monkeypatch.setenv("NATS_URL", with_user.url.replace("//", "//shop%20owner:hunter2@"))
    monkeypatch.setenv("NATS_TOKEN", "hunter2")
    for words in (["health"], ["product", "show", "lamp"], ["config", "show"], ["lag"]):
        result = recsys_embedded(*words, exits=None)
        assert "hunter2" not in result.out + result.err
        assert "Traceback" not in result.err
    refused = recsys_embedded("health", exits=5)
    assert "does not accept this login" in refused.err
    shown = recsys_embedded("config", "show").out
    assert "***" in shown
    assert "shop%20owner:***@" in shown
