"""Neighbor lists in Redis, a string for each product: ``GET product:neighbors:{id}``.

The value is JSON: ``product_id``, ``neighbors`` (``product_id``, ``score``; closest first), and the
``generation`` and ``run`` it is of. The hash ``product:neighbors`` tells of the newest run, so that
one that was killed goes on where it was. Readers find a product's old list, or its new one.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence

import msgspec

from recsys_cli.connections.redis import RedisConnection, flat, pairs
from recsys_cli.domain import utc_now
from recsys_cli.neighbor_lists import CloseProduct, NeighborList
from recsys_cli.seen import SeenIds

LIST_PREFIX = "product:neighbors:"
RUN_KEY = "product:neighbors"


class _Stored(msgspec.Struct, frozen=True):
    product_id: str
    neighbors: list[CloseProduct]
    generation: int
    run: str


class RedisNeighbors:
    """A NeighborSink. ``of``: what the lists depend on, as text; a run of the same goes on."""

    def __init__(self, connection: RedisConnection, *, generation: int, of: str) -> None:
        self._connection = connection
        self._generation = generation
        self._met = SeenIds()
        found = pairs(connection.call("HGETALL", RUN_KEY))
        self._goes_on = found.get(b"of") == of.encode() and b"finished_at" not in found
        self._run = found[b"run"].decode() if self._goes_on else uuid.uuid4().hex
        if not self._goes_on:
            facts = {"run": self._run, "of": of, "started_at": utc_now()}
            connection.pipeline([("DEL", RUN_KEY), ("HSET", RUN_KEY, *flat(facts))])

    def already(self, product_ids: Sequence[str]) -> list[bool]:
        self._met.add(product_ids)
        if not self._goes_on:
            return [False] * len(product_ids)
        found = self._connection.pipeline(("GET", LIST_PREFIX + i) for i in product_ids)
        return [self._is_ours(raw) for raw in found]

    def write(self, lists: Sequence[NeighborList]) -> None:
        values = [
            _Stored(found.product_id, found.neighbors, self._generation, self._run)
            for found in lists
        ]
        self._connection.pipeline(
            ("SET", LIST_PREFIX + value.product_id, msgspec.json.encode(value)) for value in values
        )

    def finish(self) -> None:
        """Remove the lists of products that this run did not meet: they are gone."""
        for keys in self._connection.scan(LIST_PREFIX):
            ids = [key.decode(errors="replace")[len(LIST_PREFIX) :] for key in keys]
            met = self._met.contains(ids)
            gone = [key for key, is_met in zip(keys, met, strict=True) if not is_met]
            self._connection.pipeline(("DEL", key) for key in gone)
        self._connection.call("HSET", RUN_KEY, "finished_at", utc_now())

    def _is_ours(self, raw: bytes | None) -> bool:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            return raw is not None and msgspec.json.decode(raw, type=_Stored).run == self._run
        return False
