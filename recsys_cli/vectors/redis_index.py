"""The HNSW index itself: creating it, describing it, dropping it.

The name that everybody searches is an alias, so that another generation can take its place in one
step; the index behind it is ``{name}@1``. A hash of that same name keeps what FT.INFO does not
tell: with how many candidates a search goes through the graph.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from recsys_cli.connections.redis import (
    Command,
    CommandUnavailable,
    ErrorReply,
    RedisConnection,
    Reply,
    pairs,
)
from recsys_cli.domain import IndexInfo, IndexSpec
from recsys_cli.errors import BackendRefused, BackendUnavailable, IndexMismatch
from recsys_cli.vectors.redis_query import PREFIX

SEPARATOR = "\x1f"
"""Splits a tag field into several tags, which a category never is: no clean text contains it."""

_POLL_S = 0.02
_STALLED_S = 60.0
_MISSING = ("unknown index name", "no such index", "index not found", "index_not_found")


def is_missing(error: ErrorReply) -> bool:
    return any(said in error.reply.casefold() for said in _MISSING)


class RedisIndex:
    """The index known as ``name``, whichever it is at the moment."""

    def __init__(self, connection: RedisConnection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._first = f"{name}@1"

    def create(self, spec: IndexSpec) -> bool:
        """See ports.VectorStore.create_index."""
        facts = self._facts()
        is_new = False
        if facts is None:
            is_new = self._made(spec)
            if is_new:
                self._connection.call("HSET", self._first, "ef_runtime", spec.ef_runtime)
            self._accepted(("FT.ALIASADD", self._name, self._first), unless="already exists")
            facts = self._wait_until_built()
        if not is_new:
            self._compare(facts, spec)
            self._wait_until_built()
        return is_new

    def exists(self) -> bool:
        return self._facts() is not None

    def drop(self) -> bool:
        facts = self._facts()
        if facts is None:
            return False
        real_name = facts[b"index_name"]
        self._connection.call("DEL", real_name)
        try:
            self._connection.call("FT.DROPINDEX", real_name)
        except ErrorReply as error:
            if not is_missing(error):
                raise
            return False
        return True

    def info(self) -> IndexInfo | None:
        facts = self._facts()
        if facts is None:
            return None
        parameters = self._parameters(facts)
        indexed, done = int(facts[b"num_docs"]), float(facts[b"percent_indexed"])
        megabytes = float(facts[b"vector_index_sz_mb"]) + float(
            facts.get(b"total_index_memory_sz_mb", 0)
        )
        return IndexInfo(
            name=self._name,
            algorithm=_vector_field(facts)["algorithm"],
            dimension=parameters.pop("dimension"),
            # While the index is being built, an estimate.
            documents=round(indexed / done) if 0 < done < 1 else indexed,
            indexed=indexed,
            failures=int(facts[b"hash_indexing_failures"]),
            memory_bytes=round(megabytes * 1024 * 1024),
            parameters=parameters,
            model_versions=self._model_versions(),
        )

    def _facts(self) -> dict[bytes, Reply] | None:
        try:
            return pairs(self._connection.call("FT.INFO", self._name))
        except ErrorReply as error:
            if not is_missing(error):
                raise
            return None

    def _made(self, spec: IndexSpec) -> bool:
        try:
            return self._accepted(_creation(self._first, spec), unless="already exists")
        except CommandUnavailable as error:
            if "permission" not in error.reply:
                raise
            raise BackendRefused(
                f"there is no index {self._name!r}, and this user of Redis may not create one",
                hint="recsys index create, as a user who may (see Security in the README)",
            ) from error

    def _accepted(self, command: Command, *, unless: str) -> bool:
        """Carry the command out; False where it was refused because of ``unless``."""
        try:
            self._connection.call(*command)
        except ErrorReply as error:
            if unless not in error.reply:
                raise
            return False
        return True

    def _parameters(self, facts: dict[bytes, Reply]) -> dict[str, int]:
        field = _vector_field(facts)
        parameters = {
            "dimension": int(field["dim"]),
            "m": int(field.get("m", 0)),
            "ef_construction": int(field.get("ef_construction", 0)),
        }
        ef_runtime = self._connection.call("HGET", facts[b"index_name"], "ef_runtime")
        if ef_runtime and ef_runtime.isdigit() and len(ef_runtime) < 10:
            parameters["ef_runtime"] = int(ef_runtime)
        return parameters

    def _compare(self, facts: dict[bytes, Reply], spec: IndexSpec) -> None:
        wanted = {
            "dimension": spec.dimension,
            "m": spec.m,
            "ef_construction": spec.ef_construction,
            "ef_runtime": spec.ef_runtime,
        }
        differences = [
            f"{name} {value}, not {wanted[name]}"
            for name, value in self._parameters(facts).items()
            if value != wanted[name]
        ]
        if differences:
            raise IndexMismatch(
                f"the index {self._name!r} exists with {'; '.join(differences)}",
                hint="recsys index drop, then create it anew",
            )

    def _wait_until_built(self) -> dict[bytes, Reply]:
        """Wait for Redis to take up the embeddings that were there before the index."""
        done, since_s = -1.0, time.monotonic()
        while True:
            facts = self._facts()
            if facts is None:
                raise BackendUnavailable(f"the index {self._name!r} was dropped meanwhile")
            if not int(facts[b"indexing"]):
                return facts
            if float(facts[b"percent_indexed"]) > done:
                done, since_s = float(facts[b"percent_indexed"]), time.monotonic()
            if time.monotonic() - since_s > _STALLED_S:
                raise BackendUnavailable(
                    f"Redis has not got on with building the index {self._name!r} for"
                    f" {_STALLED_S:.0f} s; {done:.0%} are done",
                    hint="recsys index info",
                )
            time.sleep(_POLL_S)

    def _model_versions(self) -> list[str]:
        try:
            versions = self._connection.call("FT.TAGVALS", self._name, "model_version")
        except CommandUnavailable:
            raise
        except ErrorReply:
            return []  # made by another program, or dropped just now
        # Values stay listed for a while after their last product has gone.
        counts = self._connection.pipeline(
            (
                *("FT.SEARCH", self._name, "@model_version:{$version}"),
                *("PARAMS", 2, "version", version, "LIMIT", 0, 0, "DIALECT", 2),
            )
            for version in versions
        )
        return sorted(v.decode() for v, (count, *_) in zip(versions, counts, strict=True) if count)


def _creation(name: str, spec: IndexSpec) -> Command:
    hnsw: Sequence[str | int] = (
        *("TYPE", "FLOAT32", "DIM", spec.dimension, "DISTANCE_METRIC", "COSINE"),
        *("M", spec.m, "EF_CONSTRUCTION", spec.ef_construction, "EF_RUNTIME", spec.ef_runtime),
    )
    tag = ("TAG", "SEPARATOR", SEPARATOR, "CASESENSITIVE")
    return (
        *("FT.CREATE", name, "ON", "HASH", "PREFIX", 1, PREFIX, "SCHEMA"),
        *("vector", "VECTOR", "HNSW", len(hnsw), *hnsw),
        *("category", *tag, "INDEXEMPTY"),
        *("price", "NUMERIC"),
        *("model_version", *tag),
    )


def _vector_field(facts: dict[bytes, Reply]) -> dict[str, str]:
    """Return what FT.INFO says of the field ``vector``, names in lower case."""
    for attribute in facts[b"attributes"]:
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in attribute]
        field = {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=False)}
        if field.get("type") == "VECTOR":
            return field
    return {"algorithm": "none", "dim": "0"}
