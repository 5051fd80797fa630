"""A server on this machine that answers as Pinecone's data plane does, over numpy.

Contract-tested against Pinecone's published OpenAPI: every request and every answer that is no
injected failure is validated against it; ``running`` fails at its end where one was not valid.
Exact and at once consistent: what it shows says nothing about the recall, the limits or the
consistency of the real service. ``fail_next`` makes it fail.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

API_KEY = "test-key"
CONTRACT = Path(__file__).parent / "openapi" / "pinecone_db_data_2026-04.yaml"
Record = dict[str, Any]


@cache
def contract() -> OpenAPI:
    return OpenAPI.from_file_path(str(CONTRACT))


class PineconeServer:
    """``requests``: the paths that were asked for, in order; ``violations`` of the contract."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.namespaces: dict[str, dict[str, Record]] = {}
        self.requests: list[str] = []
        self.violations: list[str] = []
        self._failures: list[tuple[int, dict[str, str]]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def fail_next(self, *statuses: int, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next requests with these."""
        with self._lock:
            self._failures += [(status, dict(headers or {})) for status in statuses]

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
    ) -> tuple[int, Any, Any]:
        url = urlsplit(target)
        query = parse_qs(url.query)
        with self._lock:
            self.requests.append(url.path)
            if self._failures:
                status, said = self._failures.pop(0)
                return status, {"code": 2, "message": "injected"}, said
            request = MockRequest(
                "https://unknown",
                method.lower(),
                url.path,
                args=query,
                headers=dict(headers),
                data=raw or None,
                content_type=headers.get("content-type", "application/json"),
            )
            try:
                contract().validate_request(request)
            except OpenAPIError as error:
                self.violations.append(f"{method} {target}: {error!r} {error.__cause__!r}")
                return 400, {"code": 3, "message": "not as the contract says"}, {}
            if headers.get("api-key") != API_KEY:
                return 401, {"code": 16, "message": "Invalid API Key"}, {}
            body = json.loads(raw) if raw else {}
            status, answer, said = self._handled(f"{method} {url.path}", query, body)
            if status == 200:
                self._check_answer(request, answer)
            return status, answer, said

    def _check_answer(self, request: MockRequest, answer: Any) -> None:
        try:
            contract().validate_response(request, MockResponse(json.dumps(answer).encode(), 200))
        except OpenAPIError as error:
            self.violations.append(f"answer to {request.path}: {error!r} {error.__cause__!r}")

    def _handled(
        self, what: str, query: dict[str, list[str]], body: Record
    ) -> tuple[int, Any, Any]:
        handlers: dict[str, Callable[[], tuple[int, Any, Any]]] = {
            "POST /vectors/upsert": lambda: self._upsert(body),
            "GET /vectors/fetch": lambda: (200, self._fetch(query), {}),
            "GET /vectors/list": lambda: (200, self._list(query), {}),
            "POST /query": lambda: (200, self._query(body), {}),
            "POST /vectors/delete": lambda: self._delete(body),
            "POST /describe_index_stats": lambda: (200, self._stats(), {}),
        }
        if what not in handlers:
            return 404, {"code": 5, "message": f"no such path: {what}"}, {}
        return handlers[what]()

    def _upsert(self, body: Record) -> tuple[int, Any, Any]:
        vectors = body["vectors"]
        for vector in vectors:
            if len(vector["values"]) != self.dimension or len(vector["id"]) > 512:
                return 400, {"code": 3, "message": "bad vector"}, {}
        held = self.namespaces.setdefault(body.get("namespace", ""), {})
        for vector in vectors:
            values = np.asarray(vector["values"], np.float32)
            held[vector["id"]] = {**vector, "values": [float(v) for v in values]}
        return 200, {"upsertedCount": len(vectors)}, {}

    def _fetch(self, query: dict[str, list[str]]) -> Any:
        name = query.get("namespace", [""])[0]
        held = self.namespaces.get(name, {})
        found = {key: held[key] for key in query["ids"] if key in held}
        return {"vectors": found, "namespace": name, "usage": {"readUnits": 1}}

    def _list(self, query: dict[str, list[str]]) -> Any:
        name = query.get("namespace", [""])[0]
        limit = int(query.get("limit", ["100"])[0])
        after = query.get("paginationToken", [""])[0]
        keys = sorted(key for key in self.namespaces.get(name, {}) if key > after)
        page = keys[:limit]
        answer: Record = {"vectors": [{"id": key} for key in page], "namespace": name}
        if len(keys) > limit:
            answer["pagination"] = {"next": page[-1]}
        return answer | {"usage": {"readUnits": 1}}

    def _query(self, body: Record) -> Any:
        held = self.namespaces.get(body.get("namespace", ""), {}).values()
        rows = [row for row in held if _passes(row["metadata"], body.get("filter") or {})]
        if rows:
            matrix = np.asarray([row["values"] for row in rows], np.float64)
            asked = np.asarray(body["vector"], np.float64)
            norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(asked)
            scores = matrix @ asked / np.where(norms == 0, 1, norms)
            best = np.argsort(-scores, kind="stable")[: body["topK"]]
        else:
            scores, best = np.zeros(0), np.zeros(0, int)
        matches = [
            {
                "id": rows[n]["id"],
                "score": float(scores[n]),
                "values": [],
                "metadata": rows[n]["metadata"],
            }
            for n in best
        ]
        name = body.get("namespace", "")
        return {"matches": matches, "namespace": name, "usage": {"readUnits": 1}}

    def _delete(self, body: Record) -> tuple[int, Any, Any]:
        name = body.get("namespace", "")
        if name not in self.namespaces:
            return 404, {"code": 5, "message": "Namespace not found", "details": []}, {}
        if body.get("deleteAll"):
            del self.namespaces[name]
            return 200, {}, {}
        for key in body["ids"]:
            self.namespaces[name].pop(key, None)
        return 200, {}, {}

    def _stats(self) -> Any:
        counts = {name: {"vectorCount": len(held)} for name, held in self.namespaces.items()}
        return {
            "namespaces": counts,
            "dimension": self.dimension,
            "indexFullness": 0,
            "totalVectorCount": sum(len(held) for held in self.namespaces.values()),
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._reply()

            def do_POST(self) -> None:
                self._reply()

            def log_message(self, *_: object) -> None:
                pass

            def _reply(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                asked = {name.lower(): value for name, value in self.headers.items()}
                status, body, headers = stand_in.answer(self.command, self.path, asked, raw)
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler


_COMPARISONS: dict[str, Any] = {
    "$eq": lambda value, wanted: value == wanted,
    "$in": lambda value, wanted: value in wanted,
    "$nin": lambda value, wanted: value not in wanted,
    "$gte": lambda value, wanted: value is not None and value >= wanted,
    "$lte": lambda value, wanted: value is not None and value <= wanted,
}


def _passes(metadata: Record, where: Record) -> bool:
    return all(
        all(_passes(metadata, part) for part in wanted)
        if name == "$and"
        else all(_COMPARISONS[how](metadata.get(name), value) for how, value in wanted.items())
        for name, wanted in where.items()
    )
