"""The catalog on Redis: one string per product, ``product:state:{id}``, in the codec's form.

Merging is optimistic: what was read is merged here, and put in place unless another consumer was
faster. Whoever loses reads again and merges into that; as merging is commutative, nobody waits for
anybody. What merging leaves as it was is not written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from recsys_cli.catalogs import codec, optimistic
from recsys_cli.connections.redis import LuaScript, RedisConnection, pairs
from recsys_cli.domain import BEGINNING, Health, Position, Product, StoredModel, utc_now
from recsys_cli.errors import InvalidData
from recsys_cli.merge import ProductState
from recsys_cli.ports import CHECKSUM_BYTES, version_of

STATE_PREFIX = "product:state:"
MODEL_KEY = "product:model:active"
MODELS_KEY = "product:model:artifacts"
FACTS_KEY = "product:model:facts"
NOTE_PREFIX = "product:note:"

_swap = LuaScript(Path(__file__).with_name("redis_swap.lua"))


class RedisCatalog:
    """See ports.Catalog.

    The model in use is the string ``product:model:active``. All models by version are in the hash
    ``product:model:artifacts``; ``product:model:facts`` says when and on what they were fitted.
    A note is a string ``product:note:{name}``.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductState]:
        return {
            product_id: codec.decode(product_id, raw)
            for product_id, raw in self._read(product_ids).items()
            if raw is not None
        }

    def merge(
        self,
        changes: Mapping[str, ProductState],
        known: Mapping[str, ProductState] | None = None,
    ) -> dict[str, ProductState]:
        return optimistic.merge(
            changes, known, self._read, lambda swaps: self._swap(STATE_PREFIX, swaps)
        )

    def changed(self, states: Mapping[str, ProductState]) -> dict[str, ProductState | None]:
        return codec.changed(states, self._read(list(states)))

    def products(self) -> Iterator[Product]:
        for keys in self._connection.scan(STATE_PREFIX):
            # Not UTF-8, so not ours: with other letters it names nothing, and is left out.
            found = [key.decode(errors="replace").removeprefix(STATE_PREFIX) for key in keys]
            for product_id, raw in self._readable(found):
                if raw and (product := codec.decode_product(product_id, raw)):
                    yield product

    def active_model(self) -> bytes | None:
        artifact: bytes | None = self._connection.call("GET", MODEL_KEY)
        return artifact

    def model_checksum(self) -> bytes | None:
        tail: bytes = self._connection.call("GETRANGE", MODEL_KEY, -CHECKSUM_BYTES, -1)
        return tail or None

    def offer_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> bytes:
        earlier: bytes | None = self._connection.call("SET", MODEL_KEY, artifact, "NX", "GET")
        if earlier is None:
            self.save_model(artifact, fitted_at)
        return artifact if earlier is None else earlier

    def models(self) -> list[StoredModel]:
        facts = pairs(self._connection.call("HGETALL", FACTS_KEY))
        found = {model.version: model for model in map(_stored_model, facts.values())}
        active = self.active_model()
        if active and version_of(active) not in found:  # its consumer was killed before noting it
            version = version_of(active)
            found[version] = StoredModel(version=version, size_bytes=len(active))
        return sorted(found.values(), key=lambda model: model.saved_at)

    def model(self, version: str) -> bytes | None:
        artifact: bytes | None = self._connection.call("HGET", MODELS_KEY, version)
        if artifact is None:
            active = self.active_model()
            return active if active and version_of(active) == version else None
        return artifact

    def save_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> None:
        version = version_of(artifact)
        self._connection.call("HSETNX", MODELS_KEY, version, artifact)
        stored = StoredModel(
            version=version, size_bytes=len(artifact), fitted_at=fitted_at, saved_at=utc_now()
        )
        self._connection.call("HSETNX", FACTS_KEY, version, msgspec.json.encode(stored))

    def use_model(self, version: str) -> bool:
        artifact = self.model(version)
        if artifact is None:
            return False
        self._connection.call("SET", MODEL_KEY, artifact)
        return True

    def remove_model(self, version: str) -> bool:
        active = self.active_model()
        if active and version_of(active) == version:
            return False
        self._connection.call("HDEL", FACTS_KEY, version)
        return bool(self._connection.call("HDEL", MODELS_KEY, version))

    def note(self, name: str) -> bytes | None:
        content: bytes | None = self._connection.call("GET", NOTE_PREFIX + name)
        return content

    def swap_note(self, name: str, seen: bytes | None, new: bytes) -> bool:
        return not self._swap(NOTE_PREFIX, {name: (seen, new)})

    def health(self) -> Health:
        return self._connection.health("catalog")

    def close(self) -> None:
        self._connection.close()

    def _swap(self, prefix: str, swaps: Mapping[str, tuple[bytes | None, bytes]]) -> list[str]:
        """Put the second value where the first is found; return the names where it was not."""
        fresh = {i: new for i, (old, new) in swaps.items() if old is None}
        changed = {i: (old, new) for i, (old, new) in swaps.items() if old is not None}
        added = self._connection.pipeline(
            ("SET", prefix + i, new, "NX") for i, new in fresh.items()
        )
        done = self._connection.run(_swap, [((prefix + i,), s) for i, s in changed.items()])
        return [
            i for i, is_done in zip((*fresh, *changed), (*added, *done), strict=True) if not is_done
        ]

    def _readable(self, product_ids: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        try:
            yield from self._read(product_ids).items()
        except InvalidData:
            # A key that is no string: find it, and leave it out.
            for product_id in product_ids:
                with contextlib.suppress(InvalidData):
                    yield from self._read([product_id]).items()

    def _read(self, product_ids: Sequence[str]) -> dict[str, bytes | None]:
        # Not MGET: in a cluster the keys live on several nodes.
        values = self._connection.pipeline(("GET", STATE_PREFIX + i) for i in product_ids)
        return dict(zip(product_ids, values, strict=True))


def _stored_model(raw: bytes) -> StoredModel:
    try:
        return msgspec.json.decode(raw, type=StoredModel)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"the key {FACTS_KEY} holds what is no model: {error}") from error
