"""What NATS and its driver can say against a call, as our errors: total, and nothing secret."""

from __future__ import annotations

import os
import re
import ssl

from nats import errors as driver
from nats.js import errors as jetstream

from recsys_cli.connections.certificates import distrusted
from recsys_cli.errors import BackendRefused, BackendUnavailable, RecsysError

DRIVER_ERRORS = (driver.Error, OSError, TimeoutError, ValueError, EOFError)
"""All that the driver raises, some of it while it reads what is no NATS."""

_LOGIN = "set NATS_USER and NATS_PASSWORD, NATS_TOKEN or NATS_CREDENTIALS"
_DENIED = re.compile(
    r"permissions violation for (\w+) (?:to|on|using) ?\"?([^\"\s]*)", re.IGNORECASE
)

# The first that is in the driver's text, which passes on what OpenSSL and the server say.
_NOT_LET_IN = (
    *distrusted("NATS_CA_CERTS"),
    (
        "secure connection failed",
        "wants a certificate of yours, and recsys has none to show",
        "log in by NATS_CREDENTIALS, NATS_TOKEN or NATS_USER there",
    ),
    ("secure connection not available", "does not offer TLS", "check tls:// in NATS_URL"),
    ("Authentication Expired", "says that this login has expired", "renew it"),
    ("Account Authentication Expired", "says that this account has expired", "renew it"),
    ("maximum connections exceeded", "has all the connections that it allows", ""),
)

# Codes as in nats-server's errors.json.
_FULL = {
    10002: "is at the limits of this account",
    10005: "has too few servers for three replicas",
    10023: "is out of resources",
    10028: "is out of memory",
    10047: "has no storage left",
    10077: "cannot store this now",
}
_PASSING = (10004, 10007, 10008, 10009, 10118, 10119)
"""What a cluster says while it has no leader, or too few servers."""

_OFF = (10035, 10039, 10076)
_LIMITS = (10113, 10120, 10122)
"""The account wants each stream to have limits, which only the operator can know."""


def translation(address: str, error: BaseException, *, has_login: bool = True) -> RecsysError:
    """Return our error for what the driver raised."""
    text = str(error)
    for said, sentence, hint in _NOT_LET_IN:
        if said.lower() in text.lower():
            return BackendRefused(f"NATS at {address} {sentence}", hint=hint)
    if "authorization" in text.lower() or "authentication" in text.lower():
        sentence = "does not accept this login" if has_login else "wants a login"
        return BackendRefused(f"NATS at {address} {sentence}", hint=_LOGIN)
    if denied := _DENIED.search(text):
        return BackendRefused(
            f"NATS at {address} does not let this user {_VERBS.get(denied[1].lower(), denied[1])}"
            f" {_subject(denied[2])}",
            hint="grant it (see NATS in the README), or use another user",
        )
    if isinstance(error, jetstream.APIError):
        return _of_jetstream(address, error)
    return _of_link(address, error, text)


_WORDS = {
    *("_inbox", "js", "kv", "api", "ack", "info", "stream", "consumer", "create", "durable"),
    *("update", "delete", "purge", "names", "list", "msg", "get", "next", "direct"),
}
"""Tokens that NATS itself writes in capitals."""


def _subject(lowered: str) -> str:
    """Return a subject as it is written: the driver has lowered it; names it cannot tell."""
    tokens = lowered.split(".")
    for place, token in enumerate(tokens):
        if token.lstrip("$") not in _WORDS:
            tokens[place] = re.sub("^kv_", "KV_", token)
            break
        tokens[place] = token.upper()
    return ".".join(tokens)


_VERBS = {"publish": "publish to", "subscription": "subscribe to"}


def _of_jetstream(address: str, error: jetstream.APIError) -> RecsysError:
    # Not all of them are given what the others have.
    code: int = getattr(error, "err_code", None) or 0
    status: int = getattr(error, "code", None) or 0
    said: str = getattr(error, "description", None) or str(error).removeprefix("nats: ")
    if code in _OFF:
        return BackendRefused(
            f"NATS at {address} has JetStream switched off for this account",
            hint="start it with nats-server -js, and enable JetStream for the account",
        )
    if code in _FULL:
        return BackendUnavailable(f"NATS at {address} {_FULL[code]}: {said}")
    if code in _PASSING or (not code and isinstance(error, jetstream.ServiceUnavailableError)):
        return _nobody(address)
    if status in (500, 503, 408, 409):
        return BackendUnavailable(f"NATS at {address} cannot serve this now: {said}")
    hint = "make the streams with limits yourself (see NATS in the README)"
    return BackendRefused(
        f"NATS at {address} refuses: {said} ({code or status})",
        hint=hint if code in _LIMITS else "",
    )


def _nobody(address: str) -> RecsysError:
    return BackendUnavailable(
        f"nobody answers for JetStream behind NATS at {address}",
        hint="start it with nats-server -js; a cluster needs more than half of its servers",
    )


def _of_link(address: str, error: BaseException, text: str) -> RecsysError:
    if isinstance(error, driver.NoRespondersError | jetstream.NoStreamResponseError):
        return _nobody(address)
    if isinstance(error, ssl.SSLError):
        return BackendRefused(f"NATS at {address} and TLS: {error.reason or text}")
    if isinstance(error, ValueError | EOFError) or "INFO" in text or "info message" in text:
        return BackendRefused(
            f"what is at {address} does not speak as NATS does", hint="check NATS_URL"
        )
    for classes, sentence in _WAIT:
        if isinstance(error, classes):
            return BackendUnavailable(f"NATS at {address} {sentence.format(reason=_reason(error))}")
    return BackendRefused(f"NATS at {address} cannot do this: {text.removeprefix('nats: ')}")


def _reason(error: BaseException) -> str:
    """Return why, without the address, which the sentence has already."""
    # asyncio puts the address in the place of what the system says, or several into one text.
    if number := re.search(r"\[Errno (\d+)\]", str(error)):
        return os.strerror(int(number[1]))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# The first that fits, so subclasses come before their parents.
_WAIT: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (TimeoutError, "does not answer in time"),
    (OSError, "does not answer ({reason})"),
    (
        (
            driver.ConnectionClosedError,
            driver.StaleConnectionError,
            driver.ConnectionReconnectingError,
            driver.ConnectionDrainingError,
            driver.NoServersError,
            driver.OutboundBufferLimitError,
        ),
        "has gone away",
    ),
)
