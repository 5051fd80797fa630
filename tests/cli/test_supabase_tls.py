"""Postgres behind TLS and passwords: verified, or one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg import sql

from recsys_cli.settings import load
from tests.commands import Recsys, Result
from tests.postgres import PostgresServer
from tests.servers import free_port
from tests.tls import Authority, tls_proxy

ROLE = "tls_shop"
PASSWORD = "odd / characters ? in # it @ too : é %"  # noqa: S105 - of a role that lives for a test
FEED = "id,name\nlamp,Desk lamp\nlamp-2,Desk lamp dimmable\n"


def spoken(server: PostgresServer, authority: Authority, name: str) -> AbstractContextManager[int]:
    """Postgres asks for TLS by eight bytes in plain text, to which S is yes."""
    return tls_proxy(server.port, authority.server_side(name), asked=8, answer=b"S")


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that lets a role in by its password only."""
    with postgres_server.client() as client:
        make = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        client.execute(make.format(sql.Identifier(ROLE), sql.Literal(PASSWORD)))
    yield postgres_server
    with postgres_server.client() as client:
        client.execute("REASSIGN OWNED BY tls_shop TO postgres")
        client.execute("DROP ROLE tls_shop")


@pytest.fixture
def port(server: PostgresServer, authority: Authority) -> Iterator[int]:
    """Where Postgres speaks TLS, and shows a certificate for localhost."""
    with spoken(server, authority, "localhost") as port:
        yield port


@pytest.fixture
def recsys(recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch) -> Recsys:
    monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "supabase")
    monkeypatch.setenv("VECTOR_STORE_TYPE", "supabase")
    return recsys_embedded


class Address:
    """Sets where Postgres is, by its parts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def is_at(self, port: int, options: str = "", *, password: str = PASSWORD) -> None:
        place = f"{ROLE}:{quote(password, safe='')}@localhost:{port}/postgres"
        self._monkeypatch.setenv("SUPABASE_DB_URL", f"postgresql://{place}?{options}")


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Address:
    return Address(monkeypatch)


def refused(recsys: Recsys) -> Result:
    """Ask for something; the answer is one sentence and its hint, and no secret."""
    result = recsys("lag", exits=5)
    assert result.err.count("\nerror: ") == 1
    assert result.out == ""
    for written in (PASSWORD, quote(PASSWORD, safe=""), "odd", "characters"):
        assert written not in result.err
    return result


def test_the_main_job_over_tls_with_a_password(
    port: int, authority: Authority, recsys: Recsys, address: Address, tmp_path: Path
) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text(FEED)
    address.is_at(port, f"sslmode=verify-full&sslrootcert={authority.file}")
    recsys("import", feed)
    assert "processed 2" in recsys("consume", "--drain").err
    (neighbor,) = recsys("similar", "lamp", "--json").json["neighbors"]
    assert neighbor["product_id"] == "lamp-2"


def test_an_authority_that_did_not_sign_it(
    port: int, recsys: Recsys, address: Address, tmp_path: Path
) -> None:
    other = Authority.in_folder(tmp_path)
    address.is_at(port, f"sslmode=verify-full&sslrootcert={other.file}")
    said = refused(recsys).err
    assert "certificate verify failed" in said
    assert "sslrootcert" in said


def test_a_certificate_for_another_host(
    server: PostgresServer, authority: Authority, recsys: Recsys, address: Address
) -> None:
    with spoken(server, authority, "db.example") as port:
        address.is_at(port, f"sslmode=verify-full&sslrootcert={authority.file}")
        said = refused(recsys).err
        assert 'certificate for "db.example"' in said
        address.is_at(port, f"sslmode=verify-ca&sslrootcert={authority.file}")
        recsys("lag")


def test_a_server_without_tls_where_it_is_asked_for(
    server: PostgresServer, recsys: Recsys, address: Address
) -> None:
    address.is_at(server.port, "sslmode=require")
    assert "the server has no TLS" in refused(recsys).err


def test_a_wrong_password(server: PostgresServer, recsys: Recsys, address: Address) -> None:
    address.is_at(server.port, password=PASSWORD + "?")
    said = refused(recsys).err
    assert "password authentication failed" in said
    assert "the password in SUPABASE_DB_URL" in said


def test_nobody_there(recsys: Recsys, address: Address) -> None:
    address.is_at(free_port())
    assert "does not answer" in refused(recsys).err


def test_no_such_database(
    server: PostgresServer, recsys: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_DB_URL", f"postgresql://postgres@127.0.0.1:{server.port}/nope")
    assert "the role and the database in SUPABASE_DB_URL" in refused(recsys).err


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://shop:{PASSWORD}@localhost:1/shop",
        f"{ROLE}:{PASSWORD}@localhost",
        f"postgresql://localhost:1/shop?password={PASSWORD}",
        f"host=localhost port=1 password={PASSWORD}",
        f"postgresql://shop:{PASSWORD}",
        f"https://shop:{PASSWORD}@localhost",
    ],
)
def test_a_password_is_not_shown_however_it_is_written(
    url: str, recsys: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_DB_URL", url)
    for command in (["lag"], ["config", "show"], ["health"], ["init", "--print-sql"]):
        result = recsys(*command, exits=None)
        assert "characters" not in result.err + result.out


@pytest.mark.parametrize(
    ("place", "is_told"),
    [
        ("db.project.supabase.co:5432/postgres", True),
        ("db.project.supabase.co:5432/postgres?sslmode=prefer", True),
        ("db.project.supabase.co:5432/postgres?sslmode=disable", True),
        ("db.project.supabase.co:5432/postgres?sslmode=require", False),
        ("db.project.supabase.co:5432/postgres?sslmode=verify-full", False),
        ("localhost:5432/postgres?sslmode=disable", False),
        ("127.0.0.1:5432/postgres", False),
        ("/postgres?host=/run/postgresql", False),
    ],
)
def test_what_may_travel_in_plain_is_said(place: str, is_told: bool) -> None:
    environ = {"EVENT_PROCESSOR_TYPE": "supabase", "SUPABASE_DB_URL": f"postgresql://u:p@{place}"}
    said = [warning for warning in load({}, environ).warnings() if "encrypted" in warning]
    assert bool(said) is is_told
