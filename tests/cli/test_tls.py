"""Redis behind TLS: verified, or one sentence that says what to do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.acl import PASSWORD, acl_user, operator_rules, worker_rules
from tests.commands import Recsys, Result
from tests.servers import RedisServer
from tests.tls import Authority, tls_proxy

FEED = "id,name\nlamp,Desk lamp\nlamp-2,Desk lamp dimmable\n"


@pytest.fixture
def port(redis_server: RedisServer, authority: Authority) -> Iterator[int]:
    """Where Redis speaks TLS, and shows a certificate for localhost."""
    with tls_proxy(redis_server.port, authority.server_side("localhost")) as port:
        yield port


@pytest.fixture
def elsewhere(redis_server: RedisServer, authority: Authority) -> Iterator[int]:
    """The same, with a certificate for another host."""
    with tls_proxy(redis_server.port, authority.server_side("cache.example")) as port:
        yield port


def refused(recsys: Recsys, *options: object, exits: int = 5) -> Result:
    """Ask for something; the answer is one sentence and its hint, within seconds."""
    start = time.monotonic()
    result = recsys("lag", *options, exits=exits)
    assert time.monotonic() - start < 10
    assert result.err.count("error: ") == 1
    assert result.out == ""
    return result


def test_the_main_job_over_tls_as_a_user_who_may_do_no_more(
    redis_server: RedisServer,
    port: int,
    authority: Authority,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    recsys, feed = recsys_embedded, tmp_path / "feed.csv"
    feed.write_text(FEED)
    monkeypatch.setenv("REDIS_URL", f"rediss://localhost:{port}/0?ssl_ca_certs={authority.file}")
    with acl_user(redis_server, worker_rules()) as user:
        monkeypatch.setenv("REDIS_USERNAME", user)
        monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
        recsys("import", feed)

        missing = recsys("consume", "--drain", exits=5)
        assert "there is no index 'product:vectors', and this user of Redis may not" in missing.err
        with acl_user(redis_server, worker_rules() + operator_rules(), "operator") as operator:
            monkeypatch.setenv("REDIS_USERNAME", operator)
            recsys("index", "create")
        monkeypatch.setenv("REDIS_USERNAME", user)

        assert "processed 2" in recsys("consume", "--drain").err
        (neighbor,) = recsys("similar", "lamp", "--json").json["neighbors"]
        assert neighbor["product_id"] == "lamp-2"
        versions = {check["details"] for check in recsys("health", "--json").json_lines}
        assert versions == {"search 2.10.5"}
        denied = recsys("index", "drop", "--yes", exits=5)
        assert "does not let this user run FT.DROPINDEX" in denied.err
        assert "ACL SETUSER ... +ft.dropindex" in denied.err


@pytest.mark.parametrize("how", ["REDIS_TLS", "REDIS_CA_CERTS"])
def test_by_host_and_port(
    how: str,
    port: int,
    authority: Authority,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_PORT", str(port))
    if how == "REDIS_CA_CERTS":
        monkeypatch.setenv(how, str(authority.file))
        assert f"Redis at rediss://localhost:{port}/0" in recsys_embedded("lag").err
    else:
        # What the system trusts, which is not the tests' own authority.
        monkeypatch.setenv(how, "true")
        said = refused(recsys_embedded).err
        assert "shows a certificate that is not trusted here" in said
        assert "set REDIS_CA_CERTS to the PEM file" in said


def test_an_authority_that_did_not_sign_it(
    port: int, recsys_embedded: Recsys, tmp_path: Path
) -> None:
    other = Authority.in_folder(tmp_path)
    url = f"rediss://localhost:{port}?ssl_ca_certs={other.file}"
    assert "is not trusted here" in refused(recsys_embedded, "--redis", url).err


@pytest.mark.parametrize(("host", "what"), [("localhost", "host name"), ("127.0.0.1", "address")])
def test_a_certificate_for_another_host(
    host: str, what: str, elsewhere: int, authority: Authority, recsys_embedded: Recsys
) -> None:
    url = f"rediss://{host}:{elsewhere}?ssl_ca_certs={authority.file}"
    said = refused(recsys_embedded, "--redis", url).err
    assert f"shows a certificate for another {what}" in said


@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_check_hostname=false"])
def test_unverified_only_if_asked_for_and_never_silently(
    option: str, elsewhere: int, authority: Authority, recsys_embedded: Recsys
) -> None:
    url = f"rediss://localhost:{elsewhere}?ssl_ca_certs={authority.file}&{option}"
    assert "the certificate of Redis is not verified" in recsys_embedded("lag", "--redis", url).err


def test_without_tls_where_tls_is_spoken(port: int, recsys_embedded: Recsys) -> None:
    said = refused(recsys_embedded, "--redis", f"redis://localhost:{port}").err
    assert "write rediss:// or set REDIS_TLS=true" in said


def test_an_alert_instead_of_an_answer(recsys_embedded: Recsys) -> None:
    with answering(b"\x15\x03\x01\x00\x02\x02\x46") as port:
        said = refused(recsys_embedded, "--redis", f"redis://localhost:{port}").err
    assert "does not speak as Redis does" in said
    assert "write rediss://" in said


def test_tls_where_it_is_not_spoken(recsys_embedded: Recsys) -> None:
    with answering(b"-ERR Protocol error\r\n") as port:
        said = refused(recsys_embedded, "--redis", f"rediss://localhost:{port}").err
    assert "does not speak TLS on this port" in said


def test_a_server_that_wants_a_certificate_of_ours(
    redis_server: RedisServer, authority: Authority, recsys_embedded: Recsys, tmp_path: Path
) -> None:
    certificate, key = authority.client_files(tmp_path)
    context = authority.server_side("localhost", asks_client=True)
    with tls_proxy(redis_server.port, context) as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={authority.file}"
        said = refused(recsys_embedded, "--redis", url).err
        assert "?ssl_certfile=FILE&ssl_keyfile=FILE" in said
        url += f"&ssl_certfile={certificate}&ssl_keyfile={key}"
        recsys_embedded("lag", "--redis", url)


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
@pytest.mark.parametrize("content", [None, "not PEM"])
def test_a_file_that_cannot_be_used_is_named_at_once(
    option: str, content: str | None, recsys_embedded: Recsys, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    url = f"rediss://localhost:1?{option}={file}"
    said = recsys_embedded("consume", "--redis", url, exits=2).err
    assert f"the file for TLS '{file}' cannot be used: " in said
    assert ("no PEM" if content else "No such file") in said


@pytest.mark.parametrize("user", ["recsys", "nobody"])
def test_a_wrong_user_or_password(
    user: str,
    redis_server: RedisServer,
    port: int,
    authority: Authority,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_CA_CERTS", str(authority.file))
    monkeypatch.setenv("REDIS_URL", f"rediss://{user}:wrong@localhost:{port}")
    with acl_user(redis_server, worker_rules()):
        said = refused(recsys_embedded).err
    assert "does not accept the user name or password" in said
    assert "REDIS_PASSWORD" in said


def test_no_password_where_one_is_wanted(
    redis_server: RedisServer, recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    with redis_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "default", "resetpass", ">secret")
        try:
            assert "wants a password" in refused(recsys_embedded).err
        finally:
            admin.execute_command("ACL", "SETUSER", "default", "nopass")


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """Yield a port where everybody is told ``reply``, whatever they say."""

    def answer() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(1 << 16)
            connection.sendall(reply)
            connection.recv(1 << 16)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
