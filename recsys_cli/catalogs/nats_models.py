"""The embedding models on NATS: an object store of artifacts, and keys that say what they are.

    object {version}     the artifact, in the object store ``recsys-models``
    model.facts.{v}      when, and on what, it was fitted, in the catalog's bucket
    model.active         the checksum, in hex, of the model in use; its version is the beginning

Two streams have no transaction. A model is there once it has its facts, which follow the artifact
and go before it; whoever puts a model into use looks after that whether it is still stored, and
whoever removes one whether it is in use by then: either puts back what it has read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from recsys_cli.catalogs import nats_streams
from recsys_cli.catalogs.nats_bucket import Swap
from recsys_cli.catalogs.nats_keys import Keys
from recsys_cli.catalogs.nats_objects import HINT, Objects, Seen
from recsys_cli.catalogs.nats_streams import WRITTEN_WITHIN_S
from recsys_cli.connections.nats_protocol import text_of, token
from recsys_cli.domain import BEGINNING, Position, StoredModel, utc_now
from recsys_cli.errors import InvalidData
from recsys_cli.ports import CHECKSUM_BYTES, version_of

if TYPE_CHECKING:
    from nats.aio.client import Client

    from recsys_cli.connections.nats import NatsConnection

STORE = "recsys-models"
ACTIVE = "model.active"
MODELS_A_PAGE = 1000

Result = TypeVar("Result")


class NatsModels:
    """See ports.Models. ``keys``: the catalog's bucket."""

    def __init__(self, connection: NatsConnection, keys: Keys, *, store: str = STORE) -> None:
        self._connection = connection
        self._keys = keys
        self._store = store

    def active_model(self) -> bytes | None:
        active = self._keys.one(ACTIVE).value
        while active is not None:
            artifact = self.model(_version(active))
            if artifact is not None:
                return artifact
            # Another may be in use by now, and this one removed.
            earlier, active = active, self._keys.newest(ACTIVE).value
            if active == earlier:
                raise InvalidData(
                    f"the model in use, {_version(active)}, is missing in the object store"
                    f" {self._store}",
                    hint=HINT,
                )
        return None

    def model_checksum(self) -> bytes | None:
        checksum = self._keys.one(ACTIVE).value
        return None if checksum is None else bytes.fromhex(checksum.decode())

    def offer_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> bytes:
        while (in_use := self.active_model()) is None:
            earlier = self._keys.newest(ACTIVE)
            if earlier.value is not None:
                continue
            # The artifact first: whoever finds the pointer finds what it points to.
            is_new = self._save(artifact, fitted_at)
            if not self._keys.swap({ACTIVE: Swap(earlier, _checksum(artifact))}):
                self._save(artifact, fitted_at)
                return artifact
            if is_new:
                self.remove_model(version_of(artifact))
        return in_use

    def models(self) -> list[StoredModel]:
        found = [
            _stored_model(key, entry.value)
            for page in self._keys.pages("model.facts.*", MODELS_A_PAGE)
            for key, entry in page.items()
            if entry.value is not None
        ]
        return sorted(found, key=lambda model: model.saved_at)

    def model(self, version: str) -> bytes | None:
        return self._run(lambda objects: objects.read(token(version)))

    def save_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> None:
        self._save(artifact, fitted_at)
        self._sweep()

    def use_model(self, version: str) -> bool:
        artifact = self.model(version)
        facts = self._keys.newest(_facts_key(version)).value
        if artifact is None or facts is None:
            return False
        while self._keys.swap({ACTIVE: Swap(self._keys.newest(ACTIVE), _checksum(artifact))}):
            pass
        self._keep(artifact, facts)
        return True

    def remove_model(self, version: str) -> bool:
        if self._is_active(version):
            return False
        name, key = token(version), _facts_key(version)
        seen, facts, artifact = (
            self._look(name),
            self._keys.newest(key).value,
            self._undamaged(version),
        )
        had_facts = self._keys.run(lambda bucket: bucket.remove(key))
        was_there = self._remove(name, seen)
        if self._is_active(version):  # by now; whoever has done that may not have seen it go
            if artifact is not None and facts is not None:
                self._keep(artifact, facts)
            return False
        return was_there or (had_facts and seen.info is None)

    def _save(self, artifact: bytes, fitted_at: Position) -> bool:
        """Store a model and what is known of it; return False where it was stored already."""
        stored = StoredModel(
            version=version_of(artifact),
            size_bytes=len(artifact),
            fitted_at=fitted_at,
            saved_at=utc_now(),
        )
        return self._keep(artifact, msgspec.json.encode(stored))

    def _keep(self, artifact: bytes, facts: bytes) -> bool:
        """Store a model unless it is, undamaged; return False where it was.

        Facts that it has stay. One without any was left by a killed writer, or is being removed: it
        is stored anew, so that whoever removes it finds another revision than the one seen.
        """
        version = version_of(artifact)
        name, key = token(version), _facts_key(version)
        is_new = False
        while True:
            known = self._keys.newest(key)
            seen = self._look(name)
            is_there = known.value is not None and seen.info is not None
            if is_there and (is_new or self._undamaged(version) is not None):
                return is_new
            self._run(lambda objects, seen=seen: objects.put(name, artifact, seen))  # type: ignore[misc]
            if known.value is None:
                self._keys.swap({key: Swap(known, facts)})
            is_new = True

    def _look(self, name: str) -> Seen:
        return self._run(lambda objects: objects.look(name))

    def _remove(self, name: str, seen: Seen) -> bool:
        return self._run(lambda objects: objects.remove(name, seen))

    def _undamaged(self, version: str) -> bytes | None:
        try:
            return self.model(version)
        except InvalidData:
            return None

    def _sweep(self, older_than_s: float = WRITTEN_WITHIN_S) -> None:
        """Remove what killed writers have left, by default an hour after."""
        self._keys.run(lambda bucket: bucket.sweep(older_than_s))
        for name, seen in self._run(lambda objects: objects.sweep(older_than_s)).items():
            version = text_of(name)
            has_facts = self._keys.newest(_facts_key(version)).value is not None
            if not has_facts and not self._is_active(version):
                self._remove(name, seen)

    def _is_active(self, version: str) -> bool:
        active = self._keys.newest(ACTIVE).value
        return active is not None and _version(active) == version

    def _run(self, work: Callable[[Objects], Awaitable[Result]]) -> Result:
        def make(client: Client) -> Objects:
            return Objects(client, self._store)

        return nats_streams.run(self._connection, make, work)


def _facts_key(version: str) -> str:
    return f"model.facts.{token(version)}"


def _checksum(artifact: bytes) -> bytes:
    return artifact[-CHECKSUM_BYTES:].hex().encode()


def _version(checksum: bytes) -> str:
    return checksum[:12].decode()


def _stored_model(key: str, raw: bytes) -> StoredModel:
    try:
        return msgspec.json.decode(raw, type=StoredModel)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"the key {key} holds what is no model: {error}") from error
