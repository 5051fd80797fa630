"""What Redis and its driver can say against a command, as our errors: total, and nothing secret."""

from __future__ import annotations

import re

from redis import exceptions as driver

from recsys_cli.connections.certificates import distrusted
from recsys_cli.errors import BackendRefused, BackendUnavailable, InvalidData, RecsysError


class ErrorReply(BackendRefused):
    """Redis understood and said no; ``reply`` is what it said."""

    def __init__(self, message: str, *, reply: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reply = reply


class CommandUnavailable(ErrorReply):
    """The server does not have the command, or does not let this user run it."""


class ScriptForgotten(ErrorReply):
    """The server was restarted or flushed its scripts."""


class GroupGone(ErrorReply):
    """The consumer group, or its whole stream, is not (any longer) there."""


# The first that fits, so subclasses come before their parents.
_WAIT: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (driver.BusyLoadingError, "is still loading its data"),
    (driver.ReadOnlyError, "is a replica, which cannot be written to"),
    (driver.OutOfMemoryError, "is at its memory limit (maxmemory)"),
    ((driver.ClusterDownError, driver.TryAgainError), "cannot serve this now: {text}"),
    ((driver.TimeoutError, TimeoutError), "does not answer in time"),
    ((driver.ConnectionError, OSError), "does not answer ({reason})"),
)

# A script's own commands are named as well.
_PERMISSION = re.compile(r"permissions? to run the '([^']+)'")

# Replies that pass by themselves; the driver has no class for these.
_PASSING = ("MISCONF ", "NOREPLICAS ", "BUSY ", "CLUSTERDOWN ", "MASTERDOWN ", "LOADING ", "OOM ")


_GROUP_GONE = re.compile("^(NOGROUP|UNBLOCKED)|no such key|requires the key to exist")

_CREDENTIALS = "set REDIS_USERNAME and REDIS_PASSWORD, or put them into REDIS_URL"

# The first that is in the driver's text, which passes on what OpenSSL says.
_NOT_LET_IN = (
    ("Authentication required", "wants a password", _CREDENTIALS),
    *distrusted("REDIS_CA_CERTS"),
    (
        "CERTIFICATE_REQUIRED",
        "wants a certificate of yours",
        "add ?ssl_certfile=FILE&ssl_keyfile=FILE to REDIS_URL",
    ),
    ("UNKNOWN_CA", "does not trust your certificate", "see ssl_certfile in REDIS_URL"),
    ("WRONG_VERSION_NUMBER", "does not speak TLS on this port", "check the port in REDIS_URL"),
)

_ONLY_IN_0 = "Redis searches in its database 0 alone: set REDIS_DB=0, or end REDIS_URL with /0"

_CLOSED = ("closed by server", "reset by peer", "EOF occurred")
_WANTS_TLS = (
    "where it wants TLS, write rediss:// or set REDIS_TLS=true; where it wants a certificate too,"
    " add ?ssl_certfile=FILE&ssl_keyfile=FILE"
)


def translation(address: str, error: Exception, command: str) -> RecsysError:
    """Return our error for what the driver raised while ``command`` was carried out."""
    text = str(error)
    if reason := _why_not_let_in(error, text):
        sentence, hint = reason
        return BackendRefused(f"Redis at {address} {sentence}", hint=hint)
    for classes, sentence in _WAIT:
        if isinstance(error, classes):
            said = sentence.format(text=text, reason=_reason(error))
            hint = _WANTS_TLS if any(word in said for word in _CLOSED) else ""
            return BackendUnavailable(f"Redis at {address} {said}", hint=hint)
    if isinstance(error, driver.ResponseError):
        refusal = _foreign if "WRONGTYPE" in text else _refusal
        return refusal(address, error, command)
    if isinstance(error, driver.InvalidResponse | UnicodeError):
        return BackendRefused(f"what is at {address} does not speak as Redis does", hint=_WANTS_TLS)
    return BackendRefused(f"Redis at {address} cannot carry out {command}: {text}")


def _refusal(address: str, error: driver.ResponseError, command: str) -> RecsysError:
    text = str(error)
    if text.startswith(_PASSING):
        return BackendUnavailable(f"Redis at {address} cannot serve this now: {text}")
    if isinstance(error, driver.NoScriptError):
        return ScriptForgotten(f"Redis at {address} has lost a script", reply=text)
    if _GROUP_GONE.search(text):
        return GroupGone(f"Redis at {address} has no such stream or group", reply=text)
    if isinstance(error, driver.NoPermissionError) or "ACL failure in script" in text:
        return _forbidden(address, text, command)
    if "unknown command" in text:
        return _unknown(address, text, command)
    hint = _ONLY_IN_0 if "on db != 0" in text else ""
    return ErrorReply(f"Redis at {address} refuses {command}: {text}", reply=text, hint=hint)


def _unknown(address: str, text: str, command: str) -> CommandUnavailable:
    if command.startswith("FT."):
        return CommandUnavailable(
            f"Redis at {address} has no search module",
            reply=text,
            hint="use Redis 8 or Redis Stack, or set VECTOR_STORE_TYPE to another store",
        )
    return CommandUnavailable(
        f"Redis at {address} does not know the command {command}",
        reply=text,
        hint="use Redis 8 or Redis Stack",
    )


def _forbidden(address: str, text: str, command: str) -> CommandUnavailable:
    found = _PERMISSION.search(text)
    needed = found[1] if found else ""
    what = (
        f"run {needed.upper().replace('|', ' ')}" if needed else f"use a key that {command} needs"
    )
    rule = f"+{needed.lower()}" if needed else "with the pattern of the key"
    return CommandUnavailable(
        f"Redis at {address} does not let this user {what}",
        reply=text,
        hint=f"ACL SETUSER ... {rule} (see Security in the README), or use another user",
    )


def _foreign(address: str, _: driver.ResponseError, command: str) -> InvalidData:
    return InvalidData(
        f"Redis at {address} holds something else under a name that {command} needs",
        hint="another program writes there: delete its key, or use another REDIS_DB",
    )


def _why_not_let_in(error: Exception, text: str) -> tuple[str, str] | None:
    """Return a sentence and a hint where certificates or credentials are wrong."""
    if not isinstance(error, driver.ResponseError):
        for said, sentence, hint in _NOT_LET_IN:
            if said in text:
                return sentence, hint
    if isinstance(error, driver.AuthenticationError | driver.AuthorizationError) or (
        isinstance(error, driver.ResponseError)
        and text.startswith(("WRONGPASS", "AUTH ", "wrong number of arguments for 'auth'"))
    ):
        return "does not accept the user name or password", _CREDENTIALS
    return None


def _reason(error: Exception) -> str:
    """Return why, without the address, which the sentence has already."""
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error).rstrip(".") or type(error).__name__
