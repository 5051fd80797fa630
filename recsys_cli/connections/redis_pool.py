"""From the URL of a Redis to connections: with or without TLS, and then never unverified by chance.

The driver verifies certificate and host name unless the URL says otherwise in so many words. What
it finds out only while it connects, again each time, is found out here, once, as a SettingsError.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsys_cli.addresses import is_ambiguous, is_encrypted, options, redact
from recsys_cli.errors import SettingsError

CONNECT_TIMEOUT_S = 5.0

ANSWER_TIMEOUT_S = 20.0
"""A server silent for this long is gone. Blocking commands block for less at a time."""

_FORM = "write it as redis://[user:password@]host[:port][/db], rediss://... or unix://path"
_ENCODE = "in a user name or password write / ? # @ as %2F %3F %23 %40, or set REDIS_PASSWORD"
_FILES = "see REDIS_CA_CERTS, or ssl_ca_certs, ssl_certfile and ssl_keyfile in REDIS_URL"


def connection_pool(
    url: str, username: str | None, password: str | None, ca_certs: str | None
) -> redis.ConnectionPool:
    """Return connections that are made when needed. Raises SettingsError.

    ``url`` is ``redis://``, ``rediss://`` or ``unix://``, and what it says goes before the other
    arguments. ``ca_certs``: a PEM file of authorities to trust besides those of the system.
    """
    if is_ambiguous(url):
        raise _unusable(url, "is no address of a Redis", hint=_ENCODE)
    if not is_encrypted(url) and any(name.startswith("ssl_") for name in options(url)):
        raise _unusable(url, "has options for TLS, and no TLS", hint="write rediss://")
    pool = _pool(url, {"username": username, "password": password, "ssl_ca_certs": ca_certs})
    _check_files(pool.connection_kwargs)
    return pool


def _pool(url: str, wanted: Mapping[str, str | None]) -> redis.ConnectionPool:
    try:
        pool = redis.ConnectionPool.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            **{name: value for name, value in wanted.items() if value},
        )
        pool.connection_kwargs.update(protocol=2, decode_responses=False)
        # Made and not connected: shows an option that the driver does not know.
        pool.connection_class(**pool.connection_kwargs)
        database = urlsplit(url).path.strip("/")
        if database and not url.startswith("unix:") and not database.isdecimal():
            raise ValueError(database)
    except (ValueError, TypeError, redis.RedisError):
        # The cause is not shown: it may quote the password.
        raise _unusable(url, "is no address of a Redis", hint=_FORM) from None
    return pool


def _check_files(wanted: Mapping[str, Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities, own = wanted.get("ssl_ca_certs"), wanted.get("ssl_certfile")
    if authorities:
        with _usable(authorities):
            context.load_verify_locations(authorities)
    if own:
        with _usable(own):
            # Without a password here, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(own, wanted.get("ssl_keyfile"), wanted.get("ssl_password", ""))


@contextlib.contextmanager
def _usable(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = "holds no PEM of use here" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"the file for TLS {file!r} cannot be used: {why}", hint=_FILES
        ) from None


def _unusable(url: str, why: str, *, hint: str) -> SettingsError:
    return SettingsError(f"{redact(url)!r} {why}", hint=hint)
