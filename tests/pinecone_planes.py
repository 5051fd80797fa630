"""What Pinecone keeps, over numpy: vectors by namespace, and the indexes that were made.

Refused is what Pinecone's documentation says to be refused; where it gives a range, the narrowest.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

Record = dict[str, Any]
Query = dict[str, list[str]]
Answer = tuple[int, Record]

_MOST_METADATA_BYTES = 40_960
_LONGEST_ID = 512
_MOST_WRITTEN, _MOST_WRITTEN_BYTES = 1000, 2_000_000
_MOST_KEYS = 1000
_MOST_ANSWERED_BYTES = 4_000_000


class Refused(Exception):
    """The message is what Pinecone says, with the status 400."""


class DataPlane:
    """One index. Exact, and at once consistent unless ``show_stale`` says otherwise.

    ``stale_reads``: so many reads after each write show what was there before it.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.metric = "cosine"
        self.namespaces: dict[str, dict[str, Record]] = {}
        self.stale_reads = 0
        self._earlier: dict[str, dict[str, Record]] = {}
        self._turns: Iterator[bool] = iter(())

    def show_stale(self, turns: Iterable[bool]) -> None:
        """Keep what there is now; the next reads show it (True), or what there is by then."""
        self._earlier = copy.deepcopy(self.namespaces)
        self._turns = iter(turns)

    def answer(self, what: str, query: Query, body: Record) -> Answer | None:
        """Return status and body, None where there is no such path."""
        try:
            return self._answer(what, query, body)
        except Refused as error:
            return 400, _error(str(error))

    def _answer(self, what: str, query: Query, body: Record) -> Answer | None:
        reads: dict[str, Callable[[], Record]] = {
            "GET /vectors/fetch": lambda: self._fetch(query),
            "GET /vectors/list": lambda: self._list(query),
            "POST /query": lambda: self._query(body),
            "POST /describe_index_stats": self._stats,
        }
        writes: dict[str, Callable[[Record], Answer]] = {
            "POST /vectors/upsert": self._upsert,
            "POST /vectors/delete": self._delete,
        }
        if what in reads:
            return 200, reads[what]()
        if what in writes:
            if self.stale_reads:
                self.show_stale([True] * self.stale_reads)
            return writes[what](body)
        return None

    def _shown(self) -> dict[str, dict[str, Record]]:
        return self._earlier if next(self._turns, False) else self.namespaces

    def _upsert(self, body: Record) -> Answer:
        vectors = body["vectors"]
        if len(vectors) > _MOST_WRITTEN or _size(body) > _MOST_WRITTEN_BYTES:
            raise Refused(f"too much at once: {len(vectors)} vectors, {_size(body)} bytes")
        for vector in vectors:
            metadata = vector.get("metadata", {})
            size = sum(len(f"{n}{v}".encode()) for n, v in metadata.items())
            if len(vector["values"]) != self.dimension:
                raise Refused(f"Vector dimension {len(vector['values'])} is wrong")
            if not any(vector["values"]):
                raise Refused("Dense vectors must contain at least one non-zero value")
            if len(vector["id"]) > _LONGEST_ID or size > _MOST_METADATA_BYTES:
                raise Refused(f"the id or the metadata is too large: {size} bytes")
            if None in metadata.values():
                raise Refused("Metadata value must be a string, number, boolean or list of strings")
        held = self.namespaces.setdefault(body.get("namespace", ""), {})
        for vector in vectors:
            values = np.asarray(vector["values"], np.float32)
            held[vector["id"]] = {**vector, "values": [float(v) for v in values]}
        return 200, {"upsertedCount": len(vectors)}

    def _delete(self, body: Record) -> Answer:
        name = body.get("namespace", "")
        if name not in self.namespaces:
            return 404, _error("Namespace not found")
        if body.get("deleteAll"):
            del self.namespaces[name]
            return 200, {}
        for key in _not_too_many(body["ids"]):
            self.namespaces[name].pop(key, None)
        return 200, {}

    def _fetch(self, query: Query) -> Record:
        name = query.get("namespace", [""])[0]
        held = self._shown().get(name, {})
        found = {key: held[key] for key in _not_too_many(query["ids"]) if key in held}
        return {"vectors": found, "namespace": name, "usage": {"readUnits": 1}}

    def _list(self, query: Query) -> Record:
        name = query.get("namespace", [""])[0]
        limit = int(query.get("limit", ["100"])[0])
        after = query.get("paginationToken", [""])[0]
        keys = sorted(key for key in self._shown().get(name, {}) if key > after)
        page = keys[:limit]
        answer: Record = {"vectors": [{"id": key} for key in page], "namespace": name}
        if len(keys) > limit:
            answer["pagination"] = {"next": page[-1]}
        return answer | {"usage": {"readUnits": 1}}

    def _query(self, body: Record) -> Record:
        name = body.get("namespace", "")
        where = body.get("filter") or {}
        rows = [r for r in self._shown().get(name, {}).values() if passes(r["metadata"], where)]
        matches = []
        if rows:
            matrix = np.asarray([row["values"] for row in rows], np.float64)
            asked = np.asarray(body["vector"], np.float64)
            norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(asked)
            scores = matrix @ asked / np.where(norms == 0, 1, norms)
            best = np.argsort(-scores, kind="stable")[: body["topK"]]
            matches = [{**rows[n], "score": float(scores[n]), "values": []} for n in best.tolist()]
        answer = {"matches": matches, "namespace": name, "usage": {"readUnits": 1}}
        if _size(answer) > _MOST_ANSWERED_BYTES:
            raise Refused("Query result size exceeds the limit: choose a lower top_k")
        return answer

    def _stats(self) -> Record:
        shown = self._shown()
        return {
            "namespaces": {name: {"vectorCount": len(held)} for name, held in shown.items()},
            "dimension": self.dimension,
            "metric": self.metric,
            "indexFullness": 0,
            "totalVectorCount": sum(map(len, shown.values())),
        }


class ControlPlane:
    """The indexes by name, each at ``host``; ready the second time that one looks."""

    def __init__(self, host: str) -> None:
        self.indexes: dict[str, Record] = {}
        self._host = host

    def answer(self, what: str, body: Record) -> Answer | None:
        if what == "POST /indexes":
            return self._create(body)
        name = what.removeprefix("GET /indexes/")
        if name == what:
            return None
        if name not in self.indexes:
            return 404, _refusal(404, "NOT_FOUND", f"Index {name} not found")
        found = copy.deepcopy(self.indexes[name])
        self.indexes[name]["status"] = {"ready": True, "state": "Ready"}
        return 200, found

    def _create(self, body: Record) -> Answer:
        if body["name"] in self.indexes:
            return 409, _refusal(409, "ALREADY_EXISTS", "Resource already exists")
        capacity = {"mode": "OnDemand", "status": {"state": "Ready"}}
        made = {
            **body,
            "host": self._host,
            "vector_type": "dense",
            "spec": {"serverless": {**body["spec"]["serverless"], "read_capacity": capacity}},
            "status": {"ready": False, "state": "Initializing"},
        }
        self.indexes[body["name"]] = made
        return 201, copy.deepcopy(made)


def _size(body: Record) -> int:
    return len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())


def _not_too_many(keys: list[str]) -> list[str]:
    if len(keys) > _MOST_KEYS:
        raise Refused(f"{len(keys)} ids at once")
    return keys


def _error(message: str) -> Record:
    return {"code": 3, "message": message, "details": []}


def _refusal(status: int, code: str, message: str) -> Record:
    return {"status": status, "error": {"code": code, "message": message}}


_COMPARISONS: dict[str, Any] = {
    "$eq": lambda value, wanted: value == wanted,
    "$in": lambda value, wanted: value in wanted,
    # Of records without the field, Pinecone was seen to pass none: haystack-core-integrations#590.
    "$nin": lambda value, wanted: value is not None and value not in wanted,
    "$gte": lambda value, wanted: value is not None and value >= wanted,
    "$lte": lambda value, wanted: value is not None and value <= wanted,
}


def passes(metadata: Record, where: Record) -> bool:
    return all(
        all(passes(metadata, part) for part in wanted)
        if name == "$and"
        else all(_COMPARISONS[how](metadata.get(name), value) for how, value in wanted.items())
        for name, wanted in where.items()
    )
