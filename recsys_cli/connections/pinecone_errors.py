"""What Pinecone and its SDK can say against a call, as our errors: nothing secret in them."""

from __future__ import annotations

import httpx
from pinecone import errors as driver

from recsys_cli.errors import BackendRefused, BackendUnavailable, IndexMissing, RecsysError

DRIVER_ERRORS = (driver.PineconeError, httpx.HTTPError, UnicodeDecodeError)
"""What the SDK raises: its own errors, and what it lets through of a body that is broken."""

_UNREADABLE = (driver.ResponseParsingError, httpx.HTTPError, UnicodeDecodeError)
_MOST_SHOWN = 200
_BUSY = frozenset({408, 429})
_SERVER_FAILED = 500
_NOT_FOUND = 404
_REDIRECTS = (301, 302, 303, 307, 308)
_HINTS = {
    **dict.fromkeys(_REDIRECTS, "check the host, and its https://: no API key follows a redirect"),
    401: "check PINECONE_API_KEY",
    402: "see the billing page of the Pinecone project",
    403: "check what the API key may do, and the quotas of the Pinecone project",
}


def translated(error: Exception, host: str) -> RecsysError:
    """Return our error for one of DRIVER_ERRORS; the SDK has tried again where that can help."""
    if isinstance(error, driver.ApiError):
        if error.status_code == _NOT_FOUND:
            return IndexMissing(
                f"Pinecone has no index at {host}",
                hint="set PINECONE_HOST to the host of one that is there,"
                " or unset it and run recsys index create",
            )
        return answered(error.status_code, error.message, host)
    if isinstance(error, driver.PineconeValueError | driver.PineconeTypeError):
        return BackendRefused(f"the Pinecone SDK refuses the request: {_short(error.message)}")
    said = (
        f"{host} does not answer as Pinecone does: {type(error).__name__}"
        if isinstance(error, _UNREADABLE)
        else f"no answer from Pinecone at {host}: {reason(error)}"
    )
    return BackendUnavailable(said, hint="check PINECONE_HOST; recsys health")


def reason(error: BaseException) -> str:
    """Return what the system said in the first place, or else the kind of the error."""
    first = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    return getattr(first, "strerror", None) or type(error).__name__


def answered(status: int, message: object, host: str) -> RecsysError:
    """Return our error for an answer that is none of success."""
    if status in _BUSY or status >= _SERVER_FAILED:
        return BackendUnavailable(f"Pinecone at {host} answers {status}", hint="try again")
    return BackendRefused(
        f"Pinecone at {host} refuses: {status} {_short(message)}",
        hint=_HINTS.get(status, "recsys doctor"),
    )


def _short(message: object) -> str:
    return " ".join(str(message).split())[:_MOST_SHOWN]
