"""From NATS_URL and the settings beside it to servers, a login and TLS.

What the driver would find out only while it connects, again each time, is found out here, once, as
a SettingsError. Credentials files are read here too: at each connection, so that a renewed one
counts, and because the driver waits for ever on a file that is none.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from recsys_cli.addresses import is_ambiguous, redact
from recsys_cli.errors import MissingDependency, SettingsError

DEFAULT_PORT = 4222

_FORM = "write it as nats://host:port or tls://host:port, several with commas between"
_ENCODE = "in a user name or password write / ? # @ , as %2F %3F %23 %40 %2C, or set NATS_PASSWORD"
_BLOCK = r"-+BEGIN {}-+\s+(\S+)\s+-+END {}-+"
_JWT = re.compile(_BLOCK.format("NATS USER JWT", "NATS USER JWT"))
_SEED = re.compile(_BLOCK.format("USER NKEY SEED", "USER NKEY SEED"))


class Access(NamedTuple):
    """``servers``: URLs without a login; ``options``: what the driver's connect() takes."""

    servers: list[str]
    address: str
    options: dict[str, Any]
    is_encrypted: bool
    has_login: bool


def access(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    credentials: str | None = None,
    ca_certs: str | None = None,
) -> Access:
    """Return how to get at NATS. Raises SettingsError.

    The first way of logging in that is there counts: ``credentials`` (a file), ``token``, ``user``
    with ``password``, then what stands in ``url``. ``ca_certs``: a PEM file of authorities to trust
    besides those of the system; who names one wants TLS, as who writes ``tls://`` does.
    """
    if is_ambiguous(url):
        raise SettingsError(f"{redact(url)!r} is no address of a NATS server", hint=_ENCODE)
    places = [_place(url, one) for one in url.split(",")]
    login = _login(places[0], user, password, token, credentials)
    wants_tls = ca_certs is not None or any(place.scheme == "tls" for place in places)
    hosts = [f"{_host(place)}:{place.port or DEFAULT_PORT}" for place in places]
    scheme = "tls" if wants_tls else "nats"
    return Access(
        servers=[f"{scheme}://{host}" for host in hosts],
        address=",".join(hosts),
        # Without one the driver makes its own where a server asks for TLS.
        options=login | ({"tls": _context(ca_certs)} if wants_tls else {}),
        is_encrypted=wants_tls,
        has_login=bool(login),
    )


def _place(url: str, one: str) -> SplitResult:
    place = urlsplit(one)
    if place.scheme not in ("nats", "tls") or not place.hostname or place.path.strip("/"):
        raise SettingsError(f"{redact(url)!r} is no address of a NATS server", hint=_FORM)
    return place


def _host(place: SplitResult) -> str:
    host = place.hostname or ""
    return f"[{host}]" if ":" in host else host


def _login(
    place: SplitResult,
    user: str | None,
    password: str | None,
    token: str | None,
    credentials: str | None,
) -> dict[str, Any]:
    if credentials:
        return _signed(Path(credentials).expanduser())
    if token:
        return {"token": token}
    if user:
        return {"user": user, "password": password or ""}
    if place.username and place.password is not None:
        return {"user": unquote(place.username), "password": password or unquote(place.password)}
    if place.username and password:
        return {"user": unquote(place.username), "password": password}
    return {"token": unquote(place.username)} if place.username else {}


def _signed(path: Path) -> dict[str, Any]:
    """Return what answers the server's challenge from a credentials file."""
    _user(path)

    def jwt() -> bytes:
        return _user(path)[0].encode()

    def signature(nonce: str) -> bytes:
        return base64.b64encode(_user(path)[1](nonce.encode()))

    return {"user_jwt_cb": jwt, "signature_cb": signature}


def _user(path: Path) -> tuple[str, Callable[[bytes], bytes]]:
    """Return the user's JWT and what signs for it."""
    try:
        import nkeys  # noqa: PLC0415 - only a login by credentials needs it
    except ImportError as error:
        raise MissingDependency(
            f"NATS_CREDENTIALS needs the package {error.name}",
            hint="pip install 'recsys-cli[nats]'",
        ) from error
    try:
        text = path.read_text("ascii")
        jwt, seed = _JWT.search(text), _SEED.search(text)
        if jwt is None or seed is None:
            raise SettingsError(
                f"NATS_CREDENTIALS: {str(path)!r} holds no user's credentials", hint=_CREDENTIALS
            )
        return jwt[1], nkeys.from_seed(bytearray(seed[1].encode())).sign
    except OSError as error:
        raise SettingsError(
            f"NATS_CREDENTIALS: {str(path)!r} cannot be read: {error.strerror}", hint=_CREDENTIALS
        ) from None
    except (ValueError, nkeys.NkeysError):
        # The cause is not shown: it may quote the key.
        raise SettingsError(
            f"NATS_CREDENTIALS: {str(path)!r} holds a damaged key", hint=_CREDENTIALS
        ) from None


_CREDENTIALS = "name the file that nsc or your provider generated: a JWT and an NKEY seed"


def _context(ca_certs: str | None) -> ssl.SSLContext:
    """Return what verifies certificate and host name, always."""
    context = ssl.create_default_context()
    if ca_certs:
        try:
            context.load_verify_locations(Path(ca_certs).expanduser())
        except OSError as error:
            is_odd = isinstance(error, ssl.SSLError)
            why = "holds no PEM of use here" if is_odd else error.strerror
            raise SettingsError(f"NATS_CA_CERTS: {ca_certs!r} cannot be used: {why}") from None
    return context
