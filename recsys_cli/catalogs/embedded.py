"""The catalog in the embedded file: one row a product, in the form of catalogs/codec.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from sqlite3 import Connection

from recsys_cli.catalogs import codec
from recsys_cli.connections.sqlite import EmbeddedFile
from recsys_cli.domain import Health, Product
from recsys_cli.merge import NOTHING, ProductState, merge
from recsys_cli.ports import CHECKSUM_BYTES

_PAGE = 500

_SELECT = "SELECT id, state FROM products WHERE id IN (SELECT value FROM json_each(?))"

_UPSERT = """
    INSERT INTO products (id, state) VALUES (?, ?)
    ON CONFLICT DO UPDATE SET state = excluded.state"""

_ACTIVE_MODEL = """
    SELECT substr(artifact, ?) FROM models JOIN active_model ON models.id = active_model.model"""
_WHOLE = 1


class EmbeddedCatalog:
    """A Catalog in ``file``."""

    def __init__(self, file: EmbeddedFile) -> None:
        self._file = file

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductState]:
        with self._file.reading() as connection:
            stored = _stored(connection, product_ids)
        return {product_id: codec.decode(product_id, raw) for product_id, raw in stored.items()}

    def merge(
        self,
        changes: Mapping[str, ProductState],
        known: Mapping[str, ProductState] | None = None,  # noqa: ARG002 - the port's; reading here is cheap
    ) -> dict[str, ProductState]:
        with self._file.transaction() as connection:
            stored = _stored(connection, changes)
            merged, changed = {}, []
            for product_id, change in changes.items():
                raw = stored.get(product_id)
                state = merge(codec.decode(product_id, raw) if raw else NOTHING, change)
                merged[product_id] = state
                if (new := codec.encode(state)) != raw:
                    changed.append((product_id, new))
            connection.executemany(_UPSERT, changed)
        return merged

    def products(self) -> Iterator[Product]:
        last = ""
        while True:
            with self._file.reading() as connection:
                page = connection.execute(
                    "SELECT id, state FROM products WHERE id > ? ORDER BY id LIMIT ?", (last, _PAGE)
                ).fetchall()
            for product_id, raw in page:
                if product := codec.decode_product(product_id, raw):
                    yield product
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def active_model(self) -> bytes | None:
        with self._file.reading() as connection:
            return _active_model(connection)

    def model_checksum(self) -> bytes | None:
        with self._file.reading() as connection:
            return _active_model(connection, -CHECKSUM_BYTES)

    def offer_model(self, artifact: bytes) -> bytes:
        with self._file.transaction() as connection:
            active = _active_model(connection)
            if active is not None:
                return active
            model = connection.execute("INSERT INTO models (artifact) VALUES (?)", (artifact,))
            connection.execute("INSERT INTO active_model VALUES (1, ?)", (model.lastrowid,))
        return artifact

    def health(self) -> Health:
        return self._file.health("catalog")

    def close(self) -> None:
        self._file.close()


def _stored(connection: Connection, product_ids: Iterable[str]) -> dict[str, bytes]:
    # One parameter, however many ids.
    return dict(connection.execute(_SELECT, (json.dumps(list(product_ids)),)))


def _active_model(connection: Connection, start: int = _WHOLE) -> bytes | None:
    row = connection.execute(_ACTIVE_MODEL, (start,)).fetchone()
    return None if row is None else bytes(row[0])
