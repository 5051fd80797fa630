"""The catalog on NATS: one JetStream key-value bucket, ``recsys-catalog``.

    state.{id}           a product's state, in the codec's form
    note.{name}          a note
    model.active         the checksum, in hex, of the model in use; its version is the beginning
    model.artifact.{v}   an embedding model by version
    model.facts.{v}      when, and on what, it was fitted
    part....             parts of values too large for one message, see ``nats_bucket``

Ids, names and versions hold any characters and keys may not: letters, digits, ``-`` and ``_`` of
ASCII stand for themselves, every other byte of UTF-8 is ``=`` and two hexadecimal digits.

Merging is optimistic, as on Redis: what was read is merged here and put under the revision read;
whoever loses reads again. What merging leaves as it was is not written.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from recsys_cli.catalogs import codec
from recsys_cli.catalogs.nats_bucket import ABSENT, Bucket, Entry, Swap, is_missing
from recsys_cli.domain import BEGINNING, Health, Position, Product, StoredModel, utc_now
from recsys_cli.errors import InvalidData
from recsys_cli.merge import ProductState
from recsys_cli.ports import CHECKSUM_BYTES, version_of
from recsys_cli.seen import SeenIds

if TYPE_CHECKING:
    from nats.aio.client import Client

    from recsys_cli.connections.nats import NatsConnection

BUCKET = "recsys-catalog"
ACTIVE = "model.active"
PRODUCTS_A_PAGE = 1000
MODELS_A_PAGE = 1000
REQUEST_TIMEOUT_S = 10.0
PAUSE_S = 0.02

Result = TypeVar("Result")


class NatsCatalog:
    """See ports.Catalog.

    Reads may be answered by any replica of the bucket, so in a cluster they can be a moment old;
    merges, notes and the choice of the model are decided by its leader.
    """

    def __init__(self, connection: NatsConnection, *, bucket: str = BUCKET) -> None:
        self._connection = connection
        self._bucket = bucket

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductState]:
        return {
            product_id: codec.decode(product_id, entry.value)
            for product_id, entry in self._states(product_ids).items()
            if entry.value is not None
        }

    def merge(
        self,
        changes: Mapping[str, ProductState],
        known: Mapping[str, ProductState] | None = None,  # noqa: ARG002  # it has no revisions, so all is read: one trip a batch
    ) -> dict[str, ProductState]:
        results: dict[str, ProductState] = {}
        left = list(changes)
        while left:
            swaps: dict[str, Swap] = {}
            for product_id, seen in self._states(left).items():
                state, new = codec.merged(product_id, seen.value, changes[product_id])
                results[product_id] = state
                if new != seen.value:
                    swaps[_state_key(product_id)] = Swap(seen, new)
            left = list(map(_product_id, self._swap(swaps)))
        return results

    def changed(self, states: Mapping[str, ProductState]) -> dict[str, ProductState | None]:
        found = self._states(list(states))
        return codec.changed(states, {i: entry.value for i, entry in found.items()})

    def products(self) -> Iterator[Product]:
        seen = SeenIds()
        for page in self._pages("state.*", PRODUCTS_A_PAGE):
            again = seen.add(page)
            for (key, entry), is_again in zip(page.items(), again, strict=True):
                if is_again or entry.value is None:
                    continue
                product_id = _product_id(key)
                if product := codec.decode_product(product_id, entry.value):
                    yield product

    def active_model(self) -> bytes | None:
        checksum = self._one(ACTIVE).value
        return None if checksum is None else self._artifact_in_use(checksum)

    def model_checksum(self) -> bytes | None:
        checksum = self._one(ACTIVE).value
        return None if checksum is None else bytes.fromhex(checksum.decode())

    def offer_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> bytes:
        earlier = self._one(ACTIVE)
        if earlier.value is not None:
            return self._artifact_in_use(earlier.value)
        # The artifact first: whoever finds the pointer finds what it points to.
        is_new = self._save(artifact, fitted_at)
        if not self._swap({ACTIVE: Swap(earlier, _checksum(artifact))}):
            return artifact
        if is_new:
            self.remove_model(version_of(artifact))
        return self.offer_model(artifact, fitted_at)

    def models(self) -> list[StoredModel]:
        found = [
            _stored_model(key, entry.value)
            for page in self._pages("model.facts.*", MODELS_A_PAGE)
            for key, entry in page.items()
            if entry.value is not None
        ]
        return sorted(found, key=lambda model: model.saved_at)

    def model(self, version: str) -> bytes | None:
        return self._one(_artifact_key(version)).value

    def save_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> None:
        self._save(artifact, fitted_at)

    def use_model(self, version: str) -> bool:
        kept = self._read([_facts_key(version), _artifact_key(version)])
        artifact = kept[_artifact_key(version)].value
        if artifact is None:
            return False
        while self._swap({ACTIVE: Swap(self._one(ACTIVE), _checksum(artifact))}):
            pass
        self._keep(kept)
        return True

    def remove_model(self, version: str) -> bool:
        if self._is_active(version):
            return False
        facts, artifact = _facts_key(version), _artifact_key(version)
        kept = self._read([facts, artifact])
        was_there = self._run(lambda bucket: _remove(bucket, facts, artifact))
        if self._is_active(version):  # by now; whoever has done that may not have seen it go
            self._keep(kept)
            return False
        return was_there

    def note(self, name: str) -> bytes | None:
        return self._one(_note_key(name)).value

    def swap_note(self, name: str, seen: bytes | None, new: bytes) -> bool:
        entry = self._one(_note_key(name))
        return entry.value == seen and not self._swap({_note_key(name): Swap(entry, new)})

    def health(self) -> Health:
        return self._connection.health("catalog")

    def close(self) -> None:
        self._connection.close()

    def _save(self, artifact: bytes, fitted_at: Position) -> bool:
        """Store a model and what is known of it; return False where it was stored already."""
        version = version_of(artifact)
        stored = StoredModel(
            version=version, size_bytes=len(artifact), fitted_at=fitted_at, saved_at=utc_now()
        )
        is_new = False
        for key, value in (
            (_artifact_key(version), artifact),
            (_facts_key(version), msgspec.json.encode(stored)),
        ):
            earlier = self._one(key)
            if earlier.value is None:
                is_new = not self._swap({key: Swap(earlier, value)})
        self._run(lambda bucket: bucket.sweep())
        return is_new

    def _is_active(self, version: str) -> bool:
        active = self._one(ACTIVE).value
        return active is not None and _version(active) == version

    def _keep(self, kept: Mapping[str, Entry]) -> None:
        """Put back what another has removed since it was read."""
        now = self._read(list(kept))
        self._swap(
            {
                key: Swap(now[key], entry.value)
                for key, entry in kept.items()
                if entry.value is not None and now[key].value is None
            }
        )

    def _artifact_in_use(self, checksum: bytes) -> bytes:
        artifact = self.model(_version(checksum))
        if artifact is None:
            raise InvalidData(
                f"the model in use, {_version(checksum)}, is missing in the bucket {self._bucket}",
                hint="recsys model use VERSION",
            )
        return artifact

    def _one(self, key: str) -> Entry:
        return self._read([key])[key]

    def _read(self, keys: Sequence[str]) -> dict[str, Entry]:
        return self._run(lambda bucket: bucket.read(keys))

    def _states(self, product_ids: Sequence[str]) -> dict[str, Entry]:
        if not product_ids:
            return {}
        keys = {product_id: _state_key(product_id) for product_id in product_ids}
        found = self._read(list(keys.values()))
        return {product_id: found.get(key, ABSENT) for product_id, key in keys.items()}

    def _swap(self, swaps: Mapping[str, Swap]) -> list[str]:
        """Put the new values; return the keys where another was faster."""
        return self._run(lambda bucket: bucket.swap(swaps)) if swaps else []

    def _pages(self, pattern: str, limit: int) -> Iterator[dict[str, Entry]]:
        start = 1
        while start:
            page, start = self._run(lambda bucket, at=start: bucket.page(pattern, at, limit))  # type: ignore[misc]
            yield page

    def _run(self, work: Callable[[Bucket], Awaitable[Result]]) -> Result:
        """Run ``work`` on the bucket; where there is none, make it and run it again."""

        async def run(client: Client) -> Result:
            bucket = Bucket(client, self._bucket, timeout_s=REQUEST_TIMEOUT_S)
            loop = asyncio.get_running_loop()
            deadline = loop.time() + REQUEST_TIMEOUT_S
            while True:
                try:
                    return await work(bucket)
                except Exception as error:
                    if not is_missing(error) or loop.time() > deadline:
                        raise
                # In a cluster the replicas of a new bucket answer a moment after its creation.
                await bucket.create()
                await asyncio.sleep(PAUSE_S)

        return self._connection.call(run)


async def _remove(bucket: Bucket, facts: str, artifact: str) -> bool:
    await bucket.remove(facts)
    return await bucket.remove(artifact)


def _token(text: str) -> str:
    """Return the text as one token of a key; ``=`` stands for the empty text."""
    return re.sub(rb"[^A-Za-z0-9_-]", lambda m: b"=%02X" % m[0][0], text.encode()).decode() or "="


def _text(token: str) -> str:
    """Return what :func:`_token` was given; of foreign keys anything that names no product."""
    raw = re.sub(rb"=([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), token.encode())
    return raw.decode(errors="replace")


def _state_key(product_id: str) -> str:
    return f"state.{_token(product_id)}"


def _product_id(key: str) -> str:
    return _text(key.removeprefix("state."))


def _note_key(name: str) -> str:
    return f"note.{_token(name)}"


def _artifact_key(version: str) -> str:
    return f"model.artifact.{_token(version)}"


def _facts_key(version: str) -> str:
    return f"model.facts.{_token(version)}"


def _checksum(artifact: bytes) -> bytes:
    return artifact[-CHECKSUM_BYTES:].hex().encode()


def _version(checksum: bytes) -> str:
    return checksum[:12].decode()


def _stored_model(key: str, raw: bytes) -> StoredModel:
    try:
        return msgspec.json.decode(raw, type=StoredModel)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"the key {key} holds what is no model: {error}") from error
