"""Making an index through Pinecone's control plane, as its published version 2026-04 says.

In plain HTTP: the SDK asks for this in a version of its own.
"""

from __future__ import annotations

import http.client
import re
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec

from recsys_cli.connections.pinecone_errors import answered, reason
from recsys_cli.errors import BackendUnavailable, IndexMismatch

_VERSION = "2026-04"
_TIMEOUT_S = 30.0
_READY_WITHIN_S, _LOOK_EVERY_S = 300.0, 0.5
_LONGEST_NAME = 45
_THERE_ALREADY = 409


class _Status(msgspec.Struct):
    ready: bool
    state: str


class _Index(msgspec.Struct):
    host: str
    status: _Status
    metric: str
    dimension: int | None = None


class _NoRedirects(HTTPRedirectHandler):
    """The API key would go along, to whatever host an answer names."""

    def redirect_request(self, *_: object) -> None:
        return None


class ControlPlane:
    """The control plane at the URL ``address``, for who has ``api_key``."""

    def __init__(self, address: str, api_key: str) -> None:
        self._address = address.rstrip("/")
        self._api_key = api_key
        self._opener = build_opener(_NoRedirects)

    def make(self, name: str, *, dimension: int, cloud: str, region: str) -> str:
        """Make a serverless index for cosines unless it is there; return its host once it is ready.

        Raises IndexMismatch where one of another kind has the name.
        """
        name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST_NAME].rstrip("-")
        wanted = {
            "name": name,
            "dimension": dimension,
            "metric": "cosine",
            "spec": {"serverless": {"cloud": cloud, "region": region}},
        }
        status, said = self._ask("POST", "/indexes", wanted)
        if status != _THERE_ALREADY:
            self._check(status, said)
        end = time.monotonic() + _READY_WITHIN_S
        while not (found := self._index(name)).status.ready:
            if time.monotonic() > end:
                raise BackendUnavailable(
                    f"the index {name} is not ready after {_READY_WITHIN_S:.0f} s, but"
                    f" {found.status.state}",
                    hint="run recsys index create again later",
                )
            time.sleep(_LOOK_EVERY_S)
        if (found.dimension, found.metric) != (dimension, "cosine"):
            raise IndexMismatch(
                f"Pinecone has an index {name} of {found.dimension} dimensions for"
                f" {found.metric}, not of {dimension} for cosine",
                hint="choose another VECTOR_INDEX_NAME",
            )
        return found.host

    def _index(self, name: str) -> _Index:
        status, said = self._ask("GET", f"/indexes/{name}")
        self._check(status, said)
        try:
            return msgspec.json.decode(said, type=_Index)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BackendUnavailable(
                f"{self._address} does not answer as Pinecone does: {error}",
                hint="check PINECONE_CONTROLLER_HOST",
            ) from error

    def _check(self, status: int, said: bytes) -> None:
        if not 200 <= status < 300:
            raise answered(status, _message(said), self._address)

    def _ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Return status and body. Raises BackendUnavailable where there is no answer."""
        request = Request(  # noqa: S310 - the address is a setting, and was found to be http(s)
            self._address + path,
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={
                "Api-Key": self._api_key,
                "X-Pinecone-Api-Version": _VERSION,
                "Content-Type": "application/json",
            },
        )
        try:
            try:
                answer = self._opener.open(request, timeout=_TIMEOUT_S)
            except HTTPError as error:
                answer = error  # which is an answer too
            with answer:
                return answer.status, answer.read()
        except (URLError, OSError, http.client.HTTPException) as error:
            raise BackendUnavailable(
                f"no answer from Pinecone at {self._address}: {reason(error)}",
                hint="check PINECONE_CONTROLLER_HOST",
            ) from error


def _message(said: bytes) -> str:
    try:
        found: Any = msgspec.json.decode(said)
        return str(found["error"]["message"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return said.decode("utf-8", "replace")
