"""The generations on Redis: a hash ``{index}:generations``, and an alias for everybody else.

The hash has a field for each generation, by its number, and the lock. A script changes it only for
the token that holds the lock, and turns the alias in the same step as the table: whoever asks by
the one or by the other gets the same generation, at any moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from recsys_cli.connections.redis import (
    Argument,
    LuaScript,
    RedisConnection,
    Reply,
    pairs,
)
from recsys_cli.domain import Health, IndexSpec, utc_now
from recsys_cli.errors import InvalidData
from recsys_cli.generations import (
    FIRST,
    Generation,
    GenerationState,
    as_left,
    lock_held,
    lock_lost,
    swapped,
)
from recsys_cli.ports import VectorStore
from recsys_cli.vectors.redis_hnsw import RedisHnsw
from recsys_cli.vectors.redis_index import index_name, table_key

_HERE = Path(__file__).parent
_change = LuaScript(_HERE / "redis_generations.lua")
_lock = LuaScript(_HERE / "redis_generations_lock.lua")
_LAST = "last"


class RedisGenerations:
    """See ports.Generations. ``index`` is the alias, ``dimension`` that of a vector."""

    def __init__(self, connection: RedisConnection, *, index: str, dimension: int) -> None:
        self._connection = connection
        self._name = index
        self._dimension = dimension
        self._table = table_key(index)

    def all(self) -> list[Generation]:
        # The time first: so a lock is never taken for expired that is not.
        time, table = self._connection.pipeline([("TIME",), ("HGETALL", self._table)])
        rows, _ = self._decoded_rows(table)
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        is_locked = int(pairs(table).get(b"expires", 0)) > now_ms
        return rows if is_locked else as_left(rows)

    def store(self, generation: Generation) -> VectorStore:
        is_noted = bool(generation.since)
        return RedisHnsw(
            self._connection,
            index=self._name,
            generation=generation.number,
            attributes=generation.spec.attributes,
            ef_runtime=generation.spec.ef_runtime if is_noted else None,
            dimension=self._dimension,
        )

    def lock(self, holder: str, ttl_ms: int) -> int:
        return self._locked("", ttl_ms, holder)

    def renew(self, token: int, ttl_ms: int) -> None:
        self._locked(token, ttl_ms)

    def unlock(self, token: int) -> None:
        (_,) = self._connection.run(_lock, [((self._table,), (token, 0, ""))])

    def begin(self, token: int, model_version: str, spec: IndexSpec) -> Generation:
        rows, last = self._rows()
        new = Generation(
            number=last + 1,
            state=GenerationState.BUILDING,
            model_version=model_version,
            spec=spec,
            since=utc_now(),
        )
        # The others too: the first may have been there without an entry.
        self._put(token, [*rows, new], last=new.number)
        return new

    def note(self, token: int, generation: Generation) -> None:
        self._put(token, [generation])

    def serve(self, token: int, number: int) -> None:
        rows, _ = self._rows()
        index = index_name(self._name, number)
        self._put(token, swapped(rows, number), serving_index=index)

    def drop(self, token: int, number: int) -> None:
        self._changed(token)
        rows, _ = self._rows()
        for row in rows:
            if row.number == number:
                self.store(row).drop_index(embeddings=True)
        self._changed(token, fields=[str(number), ""])

    def health(self) -> Health:
        return self.store(Generation()).health()

    def close(self) -> None:
        self._connection.close()

    def _rows(self) -> tuple[list[Generation], int]:
        """Return the generations, and the last number that was given to one."""
        return self._decoded_rows(self._connection.call("HGETALL", self._table))

    def _decoded_rows(self, table: Sequence[Reply]) -> tuple[list[Generation], int]:
        found = pairs(table)
        rows = [_decoded(self._table, raw) for name, raw in found.items() if name.isdigit()]
        rows.sort(key=lambda row: row.number)
        if not any(row.state is GenerationState.SERVING for row in rows):
            first = Generation(spec=IndexSpec(dimension=self._dimension))
            rows = [first, *(row for row in rows if row.number != FIRST)]
        return rows, int(found.get(_LAST.encode(), FIRST))

    def _put(
        self,
        token: int,
        generations: Sequence[Generation],
        *,
        last: int | None = None,
        serving_index: str = "",
    ) -> None:
        fields: list[Argument] = []
        for generation in generations:
            fields += [str(generation.number), msgspec.json.encode(generation)]
        if last is not None:
            fields += [_LAST, last]
        self._changed(token, serving_index=serving_index, fields=fields)

    def _changed(
        self, token: int, *, serving_index: str = "", fields: Sequence[Argument] = ()
    ) -> None:
        alias = self._name if serving_index else ""
        arguments = (token, alias, serving_index, *fields)
        (is_done,) = self._connection.run(_change, [((self._table,), arguments)])
        if not is_done:
            raise lock_lost()

    def _locked(self, token: int | str, ttl_ms: int, holder: str = "") -> int:
        (reply,) = self._connection.run(_lock, [((self._table,), (token, ttl_ms, holder))])
        if isinstance(reply, int):
            return reply
        held_by, left_ms = reply
        raise lock_held(held_by.decode(errors="replace"), left_ms)


def _decoded(key: str, raw: bytes) -> Generation:
    try:
        return msgspec.json.decode(raw, type=Generation)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"the key {key} holds what is no generation: {error}") from error
