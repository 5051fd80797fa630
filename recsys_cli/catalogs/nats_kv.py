"""The catalog on NATS: one JetStream key-value bucket, ``recsys-catalog``.

    state.{id}           a product's state, in the codec's form
    note.{name}          a note
    model....            which model is in use, and facts of each, see ``nats_models``
    part....             parts of values too large for one message, see ``nats_bucket``

The models themselves are in an object store beside it.

Ids, names and versions hold any characters and keys may not: letters, digits, ``-`` and ``_`` of
ASCII stand for themselves, every other byte of UTF-8 is ``=`` and two hexadecimal digits.

Merging is optimistic, as on Redis: what was read is merged here and put under the revision read;
whoever loses reads again. What merging leaves as it was is not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from recsys_cli.catalogs import codec
from recsys_cli.catalogs.nats_bucket import ABSENT, Entry, Swap
from recsys_cli.catalogs.nats_keys import Keys
from recsys_cli.catalogs.nats_models import NatsModels
from recsys_cli.connections.nats_protocol import text_of, token
from recsys_cli.domain import BEGINNING, Health, Position, Product, StoredModel
from recsys_cli.merge import ProductState
from recsys_cli.seen import SeenIds

if TYPE_CHECKING:
    from recsys_cli.connections.nats import NatsConnection

BUCKET = "recsys-catalog"
PRODUCTS_A_PAGE = 1000


class NatsCatalog:
    """See ports.Catalog.

    Reads may be answered by any replica of the bucket, so in a cluster they can be a moment old;
    merges, notes and the choice of the model are decided by its leader.
    """

    def __init__(self, connection: NatsConnection, *, bucket: str = BUCKET) -> None:
        self._connection = connection
        self._keys = Keys(connection, bucket)
        self._models = NatsModels(connection, self._keys)

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
            left = list(map(_product_id, self._keys.swap(swaps)))
        return results

    def changed(self, states: Mapping[str, ProductState]) -> dict[str, ProductState | None]:
        found = self._states(list(states))
        return codec.changed(states, {i: entry.value for i, entry in found.items()})

    def products(self) -> Iterator[Product]:
        seen = SeenIds()
        for page in self._keys.pages("state.*", PRODUCTS_A_PAGE):
            again = seen.add(page)
            for (key, entry), is_again in zip(page.items(), again, strict=True):
                if is_again or entry.value is None:
                    continue
                product_id = _product_id(key)
                if product := codec.decode_product(product_id, entry.value):
                    yield product

    def active_model(self) -> bytes | None:
        return self._models.active_model()

    def model_checksum(self) -> bytes | None:
        return self._models.model_checksum()

    def offer_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> bytes:
        return self._models.offer_model(artifact, fitted_at)

    def models(self) -> list[StoredModel]:
        return self._models.models()

    def model(self, version: str) -> bytes | None:
        return self._models.model(version)

    def save_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> None:
        self._models.save_model(artifact, fitted_at)

    def use_model(self, version: str) -> bool:
        return self._models.use_model(version)

    def remove_model(self, version: str) -> bool:
        return self._models.remove_model(version)

    def note(self, name: str) -> bytes | None:
        return self._keys.one(_note_key(name)).value

    def swap_note(self, name: str, seen: bytes | None, new: bytes) -> bool:
        entry = self._keys.one(_note_key(name))
        return entry.value == seen and not self._keys.swap({_note_key(name): Swap(entry, new)})

    def health(self) -> Health:
        return self._connection.health("catalog", f"KV_{self._keys.bucket}")

    def close(self) -> None:
        self._connection.close()

    def _states(self, product_ids: Sequence[str]) -> dict[str, Entry]:
        if not product_ids:
            return {}
        keys = {product_id: _state_key(product_id) for product_id in product_ids}
        found = self._keys.read(list(keys.values()))
        return {product_id: found.get(key, ABSENT) for product_id, key in keys.items()}


def _state_key(product_id: str) -> str:
    return f"state.{token(product_id)}"


def _product_id(key: str) -> str:
    return text_of(key.removeprefix("state."))


def _note_key(name: str) -> str:
    return f"note.{token(name)}"
