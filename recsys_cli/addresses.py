"""The URL of a server: whether it says what it seems to say, and what of it may be shown.

A raw ``/``, ``?`` or ``#`` in a password cuts a URL where nobody meant it to end, and a piece of
the password would turn up as a host, a database or an option. Such a URL is refused, never shown.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

_SHOWN_OPTIONS = frozenset(
    {
        *("db", "protocol", "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile"),
        *("ssl_check_hostname", "ssl_keyfile", "ssl_min_version", "username"),
    }
)
_POSTGRES = ("postgresql", "postgres")
_POSTGRES_TLS = ("require", "verify-ca", "verify-full")
_WEB = ("http", "https")
_HOST = re.compile(r"[\w.:-]+", re.ASCII)
_LOCAL = re.compile(r"localhost|127(\.[0-9]+){3}|::1|/.*")
_LISTED = ("nats://", "tls://")
"""Of these there may be several, with commas between."""

_SCHEMES = ("redis://", "rediss://", "unix://", *_LISTED)
_NO = ("0", "f", "false", "n", "no")


def is_ambiguous(url: str) -> bool:
    """Whether a character that needs percent-encoding may have cut the URL in a wrong place."""
    if url.startswith(_LISTED) and "," in url:
        return any(not one.startswith(_LISTED) or is_ambiguous(one) for one in url.split(","))
    try:
        parts = urlsplit(url)
        names = [option.partition("=") for option in parts.query.split("&") if option]
        odd = any(not equals or not name.isidentifier() for name, equals, _ in names)
        # Raises where the port is no number.
        odd = odd or parts.port == 0
    except ValueError:
        return True
    if not url.startswith(_SCHEMES):
        return "@" in url or "?" in url
    return odd or "#" in url or "@" in parts.path


def redact(url: str) -> str:
    """Return the URL with ``***`` for its password, and for every option that may be one."""
    if is_ambiguous(url):
        return next((scheme for scheme in _SCHEMES if url.startswith(scheme)), "") + "***"
    if url.startswith(_LISTED) and "," in url:
        return ",".join(map(redact, url.split(",")))
    place, _, query = url.partition("?")
    scheme, separator, place = place.partition("://")
    credentials, at, place = place.rpartition("@")
    user, colon, _ = credentials.partition(":")
    # What stands there alone may be a password in the wrong place.
    shown = f"{user}:***@" if colon else "***@"
    shown_options = "?" + "&".join(map(_shown_option, query.split("&"))) if query else ""
    return f"{scheme}{separator}{shown if at else ''}{place}{shown_options}"


def has_secret(url: str) -> bool:
    """Whether a password is in the URL, or may be."""
    if is_ambiguous(url):
        return True
    return bool(urlsplit(url).password) or not options(url).keys() <= _SHOWN_OPTIONS


def options(url: str) -> dict[str, str]:
    """Return what stands behind the ``?``."""
    return {} if is_ambiguous(url) else dict(parse_qsl(urlsplit(url).query))


def is_encrypted(url: str) -> bool:
    return url.startswith("rediss://")


def web_address(text: str) -> str | None:
    """Return the URL of a web server, https:// where it names no scheme; None where it is none.

    A user or a password has no place in it.
    """
    url = text.strip()
    if "://" not in url:
        url = f"https://{url}"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # Both raise ValueError: for a port that is no number, and for a name that is too long.
        odd = parts.port == 0 or not host.encode("idna")
    except ValueError:
        return None
    odd = odd or "@" in parts.netloc or url.count("://") > 1
    usable = not odd and parts.scheme in _WEB and _HOST.fullmatch(host)
    return parts.geturl() if usable else None


def sends_in_clear(url: str) -> bool:
    """Whether what goes to this host leaves the machine for all on the way to read."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return url.strip().lower().startswith("http://") and not _LOCAL.fullmatch(host)


def is_unverified(url: str) -> bool:
    """Whether anybody may pass for the server: TLS, but asked not to look who it is."""
    wanted = options(url)
    return is_encrypted(url) and (
        wanted.get("ssl_cert_reqs") == "none" or wanted.get("ssl_check_hostname", "").lower() in _NO
    )


def postgres_place(url: str) -> str:
    """Return ``host:port/database`` of a ``postgresql://`` URL; ``***`` where it may be misread."""
    try:
        parts = urlsplit(url)
        places = [f"{one.hostname or 'localhost'}:{one.port or 5432}" for one in _servers(parts)]
    except ValueError:
        return "***"
    # libpq ends the password at the first "@", and what is before a "/" has none.
    pieces = (parts.netloc.rpartition("@")[0], parts.path, parts.query)
    if parts.scheme not in _POSTGRES or parts.fragment or any("@" in piece for piece in pieces):
        return "***"
    return f"{','.join(places)}{parts.path or '/'}"


def is_postgres_in_plain(url: str) -> bool:
    """Whether what is sent there over a network may go unencrypted, as libpq's default lets it."""
    if postgres_place(url) == "***":
        return False
    parts = urlsplit(url)
    wanted = dict(parse_qsl(parts.query))
    hosts = [one.hostname or wanted.get("host", "/") for one in _servers(parts)]
    is_local = all(_LOCAL.fullmatch(host) for host in hosts)
    return not is_local and wanted.get("sslmode", "prefer") not in _POSTGRES_TLS


def _servers(parts: SplitResult) -> list[SplitResult]:
    """Return each of the servers that the URL names, with commas between."""
    return [urlsplit(f"//{server}") for server in parts.netloc.rpartition("@")[2].split(",")]


def _shown_option(option: str) -> str:
    name, _, _ = option.partition("=")
    if name in _SHOWN_OPTIONS:
        return option
    return f"{name}=***" if name in ("password", "ssl_password") else "***"
