"""The catalog in the embedded file: one row a product, in the form of catalogs/codec.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from sqlite3 import Connection

from recsys_cli.catalogs import codec
from recsys_cli.connections.sqlite import EmbeddedFile
from recsys_cli.domain import BEGINNING, Health, Position, Product, StoredModel, utc_now
from recsys_cli.merge import ProductState
from recsys_cli.ports import CHECKSUM_BYTES, version_of

_PAGE = 500

_SELECT = "SELECT id, state FROM products WHERE id IN (SELECT value FROM json_each(?))"

_UPSERT = """
    INSERT INTO products (id, state) VALUES (?, ?)
    ON CONFLICT DO UPDATE SET state = excluded.state"""

_ACTIVE_MODEL = """
    SELECT substr(artifact, ?) FROM models JOIN active_model ON models.id = active_model.model"""
_MODELS = """
    SELECT version, length(artifact), fitted_at, saved_at FROM models ORDER BY saved_at, id"""
_SAVE_MODEL = "INSERT INTO models (artifact, version, fitted_at, saved_at) VALUES (?, ?, ?, ?)"
_USE_MODEL = "REPLACE INTO active_model SELECT 1, id FROM models WHERE version = ?"
_REMOVE_MODEL = """
    DELETE FROM models WHERE version = ? AND id NOT IN (SELECT model FROM active_model)"""
_WHOLE = 1

_NOTE = "SELECT content FROM notes WHERE name = ?"
_PUT_NOTE = "REPLACE INTO notes (name, content) VALUES (?, ?)"


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
            results, changed = {}, []
            for product_id, change in changes.items():
                raw = stored.get(product_id)
                results[product_id], new = codec.merged(product_id, raw, change)
                if new != raw:
                    changed.append((product_id, new))
            connection.executemany(_UPSERT, changed)
        return results

    def changed(self, states: Mapping[str, ProductState]) -> dict[str, ProductState | None]:
        with self._file.reading() as connection:
            stored = _stored(connection, states)
        return codec.changed(states, stored)

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

    def offer_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> bytes:
        with self._file.transaction() as connection:
            active = _active_model(connection)
            if active is not None:
                return active
            _save(connection, artifact, fitted_at)
            connection.execute(_USE_MODEL, (version_of(artifact),))
        return artifact

    def models(self) -> list[StoredModel]:
        with self._file.reading() as connection:
            rows = connection.execute(_MODELS).fetchall()
        return [
            StoredModel(
                version=version,
                size_bytes=size,
                fitted_at=Position.parse(fitted_at),
                saved_at=saved_at,
            )
            for version, size, fitted_at, saved_at in rows
        ]

    def model(self, version: str) -> bytes | None:
        with self._file.reading() as connection:
            return _model(connection, version)

    def save_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> None:
        with self._file.transaction() as connection:
            _save(connection, artifact, fitted_at)

    def use_model(self, version: str) -> bool:
        with self._file.transaction() as connection:
            return connection.execute(_USE_MODEL, (version,)).rowcount > 0

    def remove_model(self, version: str) -> bool:
        with self._file.transaction() as connection:
            return connection.execute(_REMOVE_MODEL, (version,)).rowcount > 0

    def note(self, name: str) -> bytes | None:
        with self._file.reading() as connection:
            return _note(connection, name)

    def swap_note(self, name: str, seen: bytes | None, new: bytes) -> bool:
        with self._file.transaction() as connection:
            if _note(connection, name) != seen:
                return False
            connection.execute(_PUT_NOTE, (name, new))
        return True

    def health(self) -> Health:
        return self._file.health("catalog")

    def close(self) -> None:
        self._file.close()


def _stored(connection: Connection, product_ids: Iterable[str]) -> dict[str, bytes]:
    # One parameter, however many ids.
    return dict(connection.execute(_SELECT, (json.dumps(list(product_ids)),)))


def _model(connection: Connection, version: str) -> bytes | None:
    query = "SELECT artifact FROM models WHERE version = ?"
    row = connection.execute(query, (version,)).fetchone()
    return None if row is None else bytes(row[0])


def _save(connection: Connection, artifact: bytes, fitted_at: Position) -> None:
    version = version_of(artifact)
    if _model(connection, version) is None:
        connection.execute(_SAVE_MODEL, (artifact, version, str(fitted_at), utc_now()))


def _note(connection: Connection, name: str) -> bytes | None:
    row = connection.execute(_NOTE, (name,)).fetchone()
    return None if row is None else bytes(row[0])


def _active_model(connection: Connection, start: int = _WHOLE) -> bytes | None:
    row = connection.execute(_ACTIVE_MODEL, (start,)).fetchone()
    return None if row is None else bytes(row[0])
