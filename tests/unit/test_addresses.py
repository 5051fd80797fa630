from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from recsys_cli.addresses import (
    has_secret,
    is_ambiguous,
    is_postgres_in_plain,
    is_unverified,
    postgres_place,
    redact,
    sends_in_clear,
    web_address,
)
from recsys_cli.connections.postgres import PostgresConnection
from recsys_cli.connections.redis import RedisConnection
from recsys_cli.errors import SettingsError

MARK = "hunter2"
odd = st.text(st.sampled_from("@:/?#&=% +[]é\\"), max_size=4)
passwords = st.tuples(odd, odd).map(lambda around: f"{around[0]}{MARK}{around[1]}{MARK}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("cache:6379", "cache:6379"),
        ("redis://:s3cret@cache:6379/0", "redis://:***@cache:6379/0"),
        ("redis://shop:s3:cr@et@[::1]/0", "redis://shop:***@[::1]/0"),
        ("redis://s3cret@cache", "redis://***@cache"),
        ("http://u:s3cret@cache", "***"),
        ("rediss://c?ssl_ca_certs=/ca.pem&ssl_password=x", None),
        ("unix:///run/r.sock?db=1&password=s3@cret", "unix:///run/r.sock?db=1&password=***"),
        ("redis:///0?username=shop&password=s", "redis:///0?username=shop&password=***"),
        ("rediss://shop:s3c/r@et@cache", "rediss://***"),
        ("redis://:12/3@cache", "redis://***"),
        ("redis://:12?s3cret@cache", "redis://***"),
        ("redis://:12#s3cret@cache", "redis://***"),
        ("redis://:[s3cret@cache", "redis://***"),
        ("shop:s3cret@cache", "***"),
        ("nats://bus:4222", "nats://bus:4222"),
        ("nats://shop:s3cret@bus,tls://other", "nats://shop:***@bus,tls://other"),
        ("nats://s3cret@bus", "nats://***@bus"),
        ("nats://shop:12,34s3cret@bus", "nats://***"),
        ("nats://shop:s3c,ret@bus,nats://other", "nats://***"),
        ("nats://shop:12/s3cret@bus", "nats://***"),
    ],
)
def test_what_may_be_a_password_is_masked(url: str, shown: str | None) -> None:
    assert redact(url) == (shown or "rediss://c?ssl_ca_certs=/ca.pem&ssl_password=***")
    assert has_secret(url) == ("***" in redact(url) and "//***@" not in redact(url))


@given(passwords)
@settings(deadline=None)
def test_no_password_is_shown_however_it_is_written(password: str) -> None:
    for written in (password, quote(password, safe="")):
        for url in (
            f"redis://:{written}@cache:6379/0",
            f"rediss://shop:{written}@cache",
            f"redis://cache/0?password={written}",
            f"unix:///run/redis.sock?password={written}",
            f"rediss://cache?db=0&ssl_password={written}",
            f":{written}@cache",
        ):
            assert MARK not in redact(url)
            assert MARK not in refusal(url)
        for url in (f"nats://shop:{written}@bus", f"tls://a,nats://shop:{written}@bus:4222"):
            assert MARK not in redact(url)


@given(passwords)
@settings(deadline=None)
def test_a_password_that_is_encoded_arrives_as_it_is(password: str) -> None:
    connection = RedisConnection(f"redis://shop:{quote(password, safe='')}@cache:6380/1")
    sent = connection._pool.connection_kwargs
    assert (sent["username"], sent["password"], sent["host"]) == ("shop", password, "cache")
    assert connection.address == "cache:6380/1"
    assert MARK not in repr(connection) + repr(connection._pool)


@given(st.text(st.sampled_from("redis:/@?#&=%1a[].")))
def test_any_text_is_a_url_or_a_sentence(url: str) -> None:
    assert isinstance(redact(url), str)
    assert isinstance(is_ambiguous(url), bool)
    refusal(url)


@pytest.mark.parametrize(
    ("url", "unverified"),
    [
        ("rediss://cache", False),
        ("rediss://cache?ssl_cert_reqs=required", False),
        ("rediss://cache?ssl_check_hostname=true", False),
        ("rediss://cache?ssl_check_hostname=", False),
        ("rediss://cache?ssl_cert_reqs=optional", False),
        ("rediss://cache?ssl_cert_reqs=none", True),
        *((f"rediss://cache?ssl_check_hostname={no}", True) for no in ("False", "no", "0", "f")),
    ],
)
def test_verification_is_off_only_in_so_many_words(url: str, unverified: bool) -> None:
    assert is_unverified(url) == unverified
    pool = RedisConnection(url)._pool
    made = pool.connection_class(**pool.connection_kwargs)
    # What the driver takes it for; to a client, "optional" is required.
    assert (made.cert_reqs == 0 or not made.check_hostname) == unverified


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache?ssl_ca_certs=/ca.pem",
        "redis://cache?ssl_cert_reqs=required",
        "rediss://cache?ssl_cert_reqs=None",
        "rediss://cache?ssl_cert_reqs=of",
        "rediss://cache?ssl_verify=no",
    ],
)
def test_an_option_that_would_not_do_what_it_says_is_refused(url: str) -> None:
    assert refusal(url)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://shop:s3cret@db:6543/shop?sslmode=require", "db:6543/shop"),
        ("postgres://shop@db", "db:5432/"),
        ("postgresql:///shop?host=/run/postgresql", "localhost:5432/shop"),
        ("postgresql://shop:s3cret@[::1]:5433/shop", "::1:5433/shop"),
        ("postgresql://shop:s3c/r@et@db/shop", "***"),
        ("postgresql://shop:12/3@db", "***"),
        ("postgresql://shop:12?s3cret@db", "***"),
        ("postgresql://shop:12#s3cret@db", "***"),
        ("postgresql://db:s3cret/shop", "***"),
        ("postgresql://shop:s3c@ret@db/shop", "***"),
        ("postgresql://shop:s3cret@a:1,b/shop", "a:1,b:5432/shop"),
        ("postgresql://shop:s3cret@a:1,b:x/shop", "***"),
        ("host=db password=s3cret", "***"),
        ("", "***"),
    ],
)
def test_of_postgres_only_host_port_and_database_are_shown(url: str, place: str) -> None:
    assert postgres_place(url) == place


@given(passwords)
@settings(deadline=None)
def test_no_password_of_postgres_is_shown_however_it_is_written(password: str) -> None:
    for written in (password, quote(password, safe="")):
        for url in (
            f"postgresql://shop:{written}@db:6543/shop",
            f"postgresql://db/shop?password={written}",
            f"host=db password={written}",
            f"shop:{written}@db",
        ):
            assert MARK not in postgres_place(url)
            assert MARK not in shown_by_postgres(url)


@given(passwords)
@settings(deadline=None)
def test_a_password_of_postgres_that_is_encoded_arrives_as_it_is(password: str) -> None:
    connection = PostgresConnection(
        f"postgresql://shop:{quote(password, safe='')}@db:6543/shop", schema="recsys"
    )
    assert conninfo_to_dict(connection._conninfo)["password"] == password
    assert connection.place == "db:6543/shop"


@pytest.mark.parametrize(
    ("url", "in_plain"),
    [
        ("postgresql://db/shop", True),
        ("postgresql://db/shop?sslmode=allow", True),
        ("postgresql://db/shop?sslmode=require", False),
        ("postgresql://db/shop?sslmode=verify-ca", False),
        ("postgresql://127.0.0.1/shop?sslmode=disable", False),
        ("postgresql:///shop?host=db.example", True),
        ("postgresql://localhost.example/shop", True),
        ("postgresql://127.example/shop", True),
        ("postgresql://127.0.0.1:1,db:2/shop", True),
        ("postgresql://127.0.0.1:1,localhost:2/shop", False),
    ],
)
def test_what_may_travel_in_plain_is_known(url: str, in_plain: bool) -> None:
    assert is_postgres_in_plain(url) == in_plain


def shown_by_postgres(url: str) -> str:
    """Return the place that errors name, or why the URL cannot be used."""
    try:
        return PostgresConnection(url, schema="recsys").place
    except SettingsError as error:
        return f"{error} {error.hint}"


def refusal(url: str) -> str:
    """Return why the URL cannot be used, '' if it can."""
    try:
        RedisConnection(url)
    except SettingsError as error:
        return f"{error} {error.hint}"
    return ""


@pytest.mark.parametrize(
    ("url", "is_sent"),
    [
        ("https://index.example", False),
        ("http://127.0.0.1:5081", False),
        ("http://localhost", False),
        ("http://[::1]:5081", False),
        ("http://index.example", True),
        ("http://localhost.example", True),
        ("http://127.0.0.1.example", True),
        ("http://[", True),
        (" HTTP://index.example", True),
    ],
)
def test_only_this_machine_may_be_spoken_to_in_clear(url: str, is_sent: bool) -> None:
    assert sends_in_clear(url) == is_sent


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("index.example", "https://index.example"),
        (" index.example:8443/\n", "https://index.example:8443/"),
        ("HTTP://127.0.0.1:5080", "http://127.0.0.1:5080"),
        ("http://[::1]:5080", "http://[::1]:5080"),
        ("", None),
        ("https://", None),
        ("http://[::1", None),
        ("http://127.0.0.1:x", None),
        ("http://127.0.0.1:0", None),
        ("a..example", None),
        ("x" * 64 + ".example", None),
        ("two words.example", None),
        ("ex€mple.example", None),
        ("ftp://index.example", None),
        ("https://http://index.example", None),
        ("https://user:secret@index.example", None),
    ],
)
def test_the_address_of_a_web_server_has_a_host_and_no_password(text: str, url: str | None) -> None:
    assert web_address(text) == url
