"""The HNSW index of one generation: creating it, describing it, dropping it.

Generation n of the index ``name`` is ``{name}@{n}``, over keys ``product:embedding@{n}:``; those
of the first are without ``@1``. ``name`` itself is an alias of the one that serves. The table of
the generations (``redis_generations.py``) keeps what FT.INFO does not tell: with how many
candidates a search goes through the graph.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from recsys_cli.connections.redis import (
    Command,
    CommandUnavailable,
    ErrorReply,
    RedisConnection,
    Reply,
    pairs,
)
from recsys_cli.domain import IndexInfo, IndexSpec, utc_now
from recsys_cli.errors import BackendRefused, BackendUnavailable
from recsys_cli.generations import FIRST, Generation, GenerationState
from recsys_cli.vectors.checks import compare_hnsw
from recsys_cli.vectors.redis_query import attribute_alias, attribute_field

SEPARATOR = "\x1f"
"""Splits a tag field into several tags, which a category never is: no clean text contains it."""

_SHORTEST_POLL_S, _LONGEST_POLL_S = 0.01, 1.0
"""To say how far it is takes Redis longer, the more there is to build."""

_STALLED_S = 60.0
_MISSING = ("unknown index name", "no such index", "index not found", "index_not_found")


def index_name(name: str, generation: int) -> str:
    """Return the name of the index behind the alias ``name``."""
    return f"{name}@{generation}"


def key_prefix(generation: int) -> str:
    """Return what the keys of its embeddings begin with."""
    return "product:embedding:" if generation == FIRST else f"product:embedding@{generation}:"


def table_key(name: str) -> str:
    """Return the key of the hash that has the generations of the index ``name``."""
    return f"{name}:generations"


def is_missing(error: ErrorReply) -> bool:
    return any(said in error.reply.casefold() for said in _MISSING)


class RedisIndex:
    """The index of one generation under ``name``."""

    def __init__(self, connection: RedisConnection, name: str, generation: int) -> None:
        self._connection = connection
        self._name = name
        self._number = generation
        self._real_name = index_name(name, generation)
        self._table = table_key(name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def searched_name(self) -> str:
        """The name to search under: that of the generation, never the alias, which may turn."""
        return self._real_name

    def look_again(self) -> bool:
        """After a search that found no index: whether another program has made it, elsewhere."""
        is_foreign = self._real_name != self._name and self._is_foreign(self._facts())
        if is_foreign:
            self._real_name = self._name
        return is_foreign

    def create(self, spec: IndexSpec) -> bool:
        """See ports.VectorStore.create_index."""
        facts = self._facts()
        is_new = facts is None and self._made(spec)
        if is_new:
            self._note(spec)
        if self._serves() and not self._is_foreign(facts):
            self._accepted(("FT.ALIASADD", self._name, self._real_name), unless="already exists")
        facts = self._wait_until_built()
        if not is_new:
            self._compare(facts, spec)
        return is_new

    def exists(self) -> bool:
        return self._facts() is not None

    def drop(self) -> bool:
        facts = self._facts()
        if facts is None:
            return False
        try:
            self._connection.call("FT.DROPINDEX", facts[b"index_name"])
        except ErrorReply as error:
            if not is_missing(error):
                raise
            return False
        return True

    def dimension(self) -> int | None:
        facts = self._facts()
        return None if facts is None else self._parameters(facts)["dimension"]

    def info(self) -> IndexInfo | None:
        facts = self._facts()
        if facts is None:
            return None
        try:
            model_versions = self._model_versions()
        except ErrorReply as error:
            if is_missing(error):
                return None  # dropped just now
            raise
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
            model_versions=model_versions,
            attributes=_attributes(facts),
            is_building=bool(int(facts[b"indexing"])),
        )

    def _facts(self) -> dict[bytes, Reply] | None:
        facts = self._facts_of(self._real_name)
        if facts is None and self._number == FIRST:
            # Another program may have made the index, under the name itself.
            facts = self._facts_of(self._name)
            return facts if self._is_foreign(facts) else None
        return facts

    def _facts_of(self, name: str) -> dict[bytes, Reply] | None:
        try:
            return pairs(self._connection.call("FT.INFO", name))
        except ErrorReply as error:
            if not is_missing(error):
                raise
            return None

    def _is_foreign(self, facts: dict[bytes, Reply] | None) -> bool:
        return facts is not None and bool(facts[b"index_name"] == self._name.encode())

    def _noted(self) -> Generation | None:
        raw = self._connection.call("HGET", self._table, self._number)
        try:
            return msgspec.json.decode(raw, type=Generation) if raw else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _note(self, spec: IndexSpec) -> None:
        """Note how the index was made, for those who search it."""
        noted = self._noted() or Generation(number=self._number)
        noted = msgspec.structs.replace(noted, spec=spec, since=noted.since or utc_now())
        self._connection.call("HSET", self._table, self._number, msgspec.json.encode(noted))

    def _serves(self) -> bool:
        noted = self._noted()
        if noted is None:
            return self._number == FIRST
        return noted.state is GenerationState.SERVING

    def _made(self, spec: IndexSpec) -> bool:
        try:
            return self._accepted(
                _creation(self._real_name, self._number, spec), unless="already exists"
            )
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
        if noted := self._noted():
            parameters["ef_runtime"] = noted.spec.ef_runtime
        return parameters

    def _compare(self, facts: dict[bytes, Reply], spec: IndexSpec) -> None:
        compare_hnsw(self._name, self._parameters(facts), _attributes(facts), spec)

    def _wait_until_built(self) -> dict[bytes, Reply]:
        """Wait for Redis to take up the embeddings that were there before the index."""
        done, since_s, poll_s = -1.0, time.monotonic(), _SHORTEST_POLL_S
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
            time.sleep(poll_s)
            poll_s = min(2 * poll_s, _LONGEST_POLL_S)

    def _model_versions(self) -> list[str]:
        try:
            versions = self._connection.call("FT.TAGVALS", self._real_name, "model_version")
        except ErrorReply as error:
            if isinstance(error, CommandUnavailable) or is_missing(error):
                raise
            return []  # made by another program
        # Values stay listed for a while after their last product has gone.
        counts = self._connection.pipeline(
            (
                *("FT.SEARCH", self._real_name, "@model_version:{$version}"),
                *("PARAMS", 2, "version", version, "LIMIT", 0, 0, "DIALECT", 2),
            )
            for version in versions
        )
        return sorted(v.decode() for v, (count, *_) in zip(versions, counts, strict=True) if count)


def _creation(name: str, generation: int, spec: IndexSpec) -> Command:
    hnsw: Sequence[str | int] = (
        *("TYPE", "FLOAT32", "DIM", spec.dimension, "DISTANCE_METRIC", "COSINE"),
        *("M", spec.m, "EF_CONSTRUCTION", spec.ef_construction, "EF_RUNTIME", spec.ef_runtime),
    )
    tag = ("TAG", "SEPARATOR", SEPARATOR, "CASESENSITIVE")
    attributes = [
        word
        for number, attribute in enumerate(spec.attributes)
        for word in (attribute_field(attribute), "AS", attribute_alias(number), *tag)
    ]
    return (
        *("FT.CREATE", name, "ON", "HASH", "PREFIX", 1, key_prefix(generation), "SCHEMA"),
        *("vector", "VECTOR", "HNSW", len(hnsw), *hnsw),
        *("category", *tag, "INDEXEMPTY"),
        *("price", "NUMERIC"),
        *attributes,
        *("model_version", *tag),
    )


def _attributes(facts: dict[bytes, Reply]) -> list[str]:
    """Return the attributes that products can be filtered by, in the order of the schema."""
    before = attribute_field("").encode()
    identifiers = [pairs(field[:4])[b"identifier"] for field in facts[b"attributes"]]
    return [i.removeprefix(before).decode() for i in identifiers if i.startswith(before)]


def _vector_field(facts: dict[bytes, Reply]) -> dict[str, str]:
    """Return what FT.INFO says of the field ``vector``, names in lower case."""
    for attribute in facts[b"attributes"]:
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in attribute]
        field = {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=False)}
        if field.get("type") == "VECTOR":
            return field
    return {"algorithm": "none", "dim": "0"}
