"""What Redis and its driver can say against a command, as our errors: total, and nothing secret."""

from __future__ import annotations

from redis import exceptions as driver

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


# The first that fits, so subclasses come before their parents.
_WAIT: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (driver.BusyLoadingError, "is still loading its data"),
    (driver.ReadOnlyError, "is a replica, which cannot be written to"),
    (driver.OutOfMemoryError, "is at its memory limit (maxmemory)"),
    ((driver.ClusterDownError, driver.TryAgainError), "cannot serve this now: {text}"),
    ((driver.TimeoutError, TimeoutError), "does not answer in time"),
    ((driver.ConnectionError, OSError), "does not answer ({reason})"),
)

# Replies that pass by themselves; the driver has no class for these.
_PASSING = ("MISCONF ", "NOREPLICAS ", "BUSY ", "CLUSTERDOWN ", "MASTERDOWN ", "LOADING ", "OOM ")


def translation(address: str, error: Exception, command: str) -> RecsysError:
    """Return our error for what the driver raised while ``command`` was carried out."""
    text = str(error)
    if _is_about_credentials(error, text):
        return BackendRefused(
            f"Redis at {address} does not accept the user name or password",
            hint="set REDIS_USERNAME and REDIS_PASSWORD, or put them into REDIS_URL",
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return BackendRefused(
            f"Redis at {address} shows a certificate that is not trusted here",
            hint="add ?ssl_ca_certs=FILE to REDIS_URL, or check the host name",
        )
    for classes, sentence in _WAIT:
        if isinstance(error, classes):
            said = sentence.format(text=text, reason=_reason(error))
            return BackendUnavailable(f"Redis at {address} {said}")
    if isinstance(error, driver.ResponseError):
        refusal = _foreign if "WRONGTYPE" in text else _refusal
        return refusal(address, error, command)
    if isinstance(error, driver.InvalidResponse | UnicodeError):
        return BackendRefused(f"what is at {address} does not speak as Redis does")
    return BackendRefused(f"Redis at {address} cannot carry out {command}: {text}")


def _refusal(address: str, error: driver.ResponseError, command: str) -> RecsysError:
    text = str(error)
    if text.startswith(_PASSING):
        return BackendUnavailable(f"Redis at {address} cannot serve this now: {text}")
    if isinstance(error, driver.NoScriptError):
        return ScriptForgotten(f"Redis at {address} has lost a script", reply=text)
    if isinstance(error, driver.NoPermissionError) or text.startswith("NOPERM"):
        return CommandUnavailable(
            f"Redis at {address} does not let this user do what is needed: {text}",
            reply=text,
            hint=f"allow {command} and its keys to the user (ACL SETUSER), or use another user",
        )
    if "unknown command" in text and command.startswith("FT."):
        return CommandUnavailable(
            f"Redis at {address} has no search module",
            reply=text,
            hint="use Redis 8 or Redis Stack, or set VECTOR_STORE_TYPE to another store",
        )
    if "unknown command" in text:
        return CommandUnavailable(
            f"Redis at {address} does not know the command {command}",
            reply=text,
            hint="use Redis 8 or Redis Stack",
        )
    return ErrorReply(f"Redis at {address} refuses {command}: {text}", reply=text)


def _foreign(address: str, _: driver.ResponseError, command: str) -> InvalidData:
    return InvalidData(
        f"Redis at {address} holds something else under a name that {command} needs",
        hint="another program writes there: delete its key, or use another REDIS_DB",
    )


def _is_about_credentials(error: Exception, text: str) -> bool:
    if isinstance(error, driver.AuthenticationError | driver.AuthorizationError):
        return True
    return isinstance(error, driver.ResponseError) and text.startswith(
        ("NOAUTH", "WRONGPASS", "AUTH ", "wrong number of arguments for 'auth'")
    )


def _reason(error: Exception) -> str:
    """Return why, without the address, which the sentence has already."""
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error).rstrip(".") or type(error).__name__
