"""A server on this machine that answers as Pinecone does, over numpy.

Contract-tested against Pinecone's published OpenAPI: every request and every answer that is no
injected failure is validated against it; ``running`` fails at its end where one was not valid.
What it shows says nothing about the recall, the limits or the consistency of the real service.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from tests.pinecone_planes import Answer, ControlPlane, DataPlane

API_KEY = "test-key"
_CHECKOUT = Path(__file__).parents[1]
_CONTRACTS = Path(__file__).parent / "openapi"
_INVALID = 400
_NUMBERS = {float, int}
_SHOWN_NUMBERS, _LARGEST_DIMENSION = 8, 20_000
"""The contract lets no vector be longer."""


@cache
def contract(plane: str) -> OpenAPI:
    return OpenAPI.from_file_path(str(_CONTRACTS / f"pinecone_db_{plane}_2026-04.yaml"))


class PineconeServer:
    """``requests``: the paths that were asked for, in order; ``violations`` of the contract.

    ``before`` and ``after`` are called with the path, before a request is carried out, and before
    its answer is sent. ``is_unplugged``: every connection ends without an answer. Without
    ``validating`` nothing is compared with the contract, which takes most of the time.
    """

    def __init__(self, dimension: int, *, validating: bool = True) -> None:
        self._is_validating = validating
        self.requests: list[str] = []
        self.violations: list[str] = []
        self.before: Callable[[str], object] = lambda _: None
        self.after: Callable[[str], object] = lambda _: None
        self.is_unplugged = False
        self._failures: list[tuple[int, bytes, dict[str, str]]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.host = f"http://127.0.0.1:{self._server.server_port}"
        self.data = DataPlane(dimension)
        contract("data")  # read here, so that no request waits for it
        self.control = ControlPlane(self.host)

    @property
    def settings(self) -> dict[str, str]:
        """What leads recsys here for its embeddings."""
        return {
            "VECTOR_STORE_TYPE": "pinecone",
            "PINECONE_HOST": self.host,
            "PINECONE_API_KEY": API_KEY,
        }

    def fail_next(
        self,
        *statuses: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b'{"code": 2, "message": "injected"}',
    ) -> None:
        """Answer the next requests with these."""
        with self._lock:
            self._failures += [(status, body, dict(headers or {})) for status in statuses]

    @contextmanager
    def running(self) -> Iterator[PineconeServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
        assert self.violations == []

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], raw: bytes
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, body and headers."""
        path = urlsplit(target).path
        self.before(path)
        with self._lock:
            self.requests.append(path)
            if self._failures:
                return self._failures.pop(0)
            status, found = self._valid_answer(method, target, headers, raw)
        self.after(path)
        return status, json.dumps(found).encode(), {}

    def _valid_answer(
        self, method: str, target: str, headers: Mapping[str, str], raw: bytes
    ) -> Answer:
        url = urlsplit(target)
        query = parse_qs(url.query)
        is_control = url.path.startswith("/indexes")
        rules = contract("control" if is_control else "data")
        request = MockRequest(
            "https://api.pinecone.io" if is_control else "https://unknown",
            method.lower(),
            url.path,
            args=query,
            headers=dict(headers),
            data=_with_short_vectors(raw) or None,
            content_type=headers.get("content-type", "application/json"),
        )
        try:
            if self._is_validating:
                rules.validate_request(request)
        except OpenAPIError as error:
            self.violations.append(f"{method} {target}: {error!r} {error.__cause__!r}")
            return _INVALID, {"code": 3, "message": "not as the contract says"}
        if headers.get("api-key") != API_KEY:
            return 401, {"code": 16, "message": "Invalid API Key"}
        what, body = f"{method} {url.path}", json.loads(raw) if raw else {}
        answer = (
            self.control.answer(what, body) if is_control else self.data.answer(what, query, body)
        )
        if answer is None:
            return 404, {"code": 5, "message": f"no such path: {what}"}
        status, found = answer
        try:
            if self._is_validating and (status < 300 or is_control):
                said = MockResponse(_with_short_vectors(json.dumps(found).encode()), status)
                rules.validate_response(request, said)
        except OpenAPIError as error:
            self.violations.append(f"answer to {what}: {error!r} {error.__cause__!r}")
        return answer


def _with_short_vectors(body: bytes) -> bytes:
    """Return the JSON with the first numbers only of each vector: the others are checked here.

    The validator takes a millisecond for 384 numbers that are all alike.
    """

    def shortened(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shortened(inner) for name, inner in value.items()}
        if not isinstance(value, list):
            return value
        if _SHOWN_NUMBERS < len(value) <= _LARGEST_DIMENSION and {*map(type, value)} <= _NUMBERS:
            return value[:_SHOWN_NUMBERS]
        return [shortened(inner) for inner in value]

    try:
        return json.dumps(shortened(json.loads(body))).encode()
    except ValueError:
        return body  # the validator says what is wrong with it


@contextmanager
def pinecone_apart() -> Iterator[dict[str, str]]:
    """Run one to be measured, in a process of its own; give the settings that lead there."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_CHECKOUT) as process:
        try:
            assert process.stdout
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone, as one that is killed does."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _handler(stand_in: PineconeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            self._reply()

        def log_message(self, *_: object) -> None:
            pass

        def _reply(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            if stand_in.is_unplugged:
                self.close_connection = True
                return
            asked = {name.lower(): value for name, value in self.headers.items()}
            status, content, headers = stand_in.answer(self.command, self.path, asked, raw)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def main() -> None:
    """Say the settings that lead here, and answer until terminated."""
    with PineconeServer(dimension=384, validating=False).running() as server:
        print(json.dumps(server.settings), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
