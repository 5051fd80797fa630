"""What Pinecone and its SDK can say against a call, as our errors: nothing secret in them."""

from __future__ import annotations

from pinecone import errors as driver

from recsys_cli.errors import BackendRefused, BackendUnavailable, IndexMissing, RecsysError

_MOST_SHOWN = 200
_BUSY = frozenset({408, 429})
_SERVER_FAILED = 500
_NOT_FOUND = 404
_HINTS = {
    401: "check PINECONE_API_KEY",
    402: "see the billing page of the Pinecone project",
    403: "check what the API key may do, and the quotas of the Pinecone project",
}


def translated(error: driver.PineconeError, host: str) -> RecsysError:
    """Return our error for the SDK's, which has tried again by then where that can help."""
    if not isinstance(error, driver.ApiError):
        kind = type(error).__name__
        if isinstance(error, driver.PineconeValueError | driver.PineconeTypeError):
            return BackendRefused(f"the Pinecone SDK refuses the request: {_short(error.message)}")
        return BackendUnavailable(
            f"no answer from Pinecone at {host}: {kind}", hint="check PINECONE_HOST; recsys health"
        )
    if error.status_code == _NOT_FOUND:
        return IndexMissing(f"Pinecone has no index at {host}", hint="recsys index create")
    return answered(error.status_code, error.message, host)


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
