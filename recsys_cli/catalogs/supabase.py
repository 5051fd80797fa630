"""The catalog on Postgres: one row a product, in the form of catalogs/codec.py.

Merging is optimistic: what was read is merged here, and put in place unless another consumer was
faster; whoever loses reads again. Rows are locked in the order of their ids, so two hardly ever
wait crosswise; where they do, as rows turn up meanwhile, Postgres ends one, and its caller tries
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys_cli.catalogs import codec, optimistic
from recsys_cli.connections.postgres import Cursor, Part, PostgresConnection, Session
from recsys_cli.domain import BEGINNING, Health, Position, Product, StoredModel, utc_now
from recsys_cli.merge import ProductState
from recsys_cli.ports import CHECKSUM_BYTES, version_of

PART = Part("notes", Path(__file__).with_name("supabase.sql").read_text(encoding="utf-8"))

_PAGE = 500

_GET = "SELECT id, state FROM {schema}.products WHERE id = ANY(%s)"

# "seen" is what was read: NULL where there was no row.
_SWAP = """
    WITH wanted AS (
        SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[]) AS w(id, seen, state)),
    locked AS (
        SELECT p.id FROM {schema}.products AS p JOIN wanted AS w USING (id)
        WHERE p.state = w.seen ORDER BY p.id FOR UPDATE OF p),
    changed AS (
        UPDATE {schema}.products AS p SET state = w.state
        FROM wanted AS w JOIN locked USING (id)
        WHERE p.id = w.id AND p.state = w.seen RETURNING p.id),
    added AS (
        INSERT INTO {schema}.products (id, state)
        SELECT id, state FROM wanted WHERE seen IS NULL ORDER BY id
        ON CONFLICT DO NOTHING RETURNING id)
    SELECT id FROM changed UNION ALL SELECT id FROM added"""

_PRODUCTS = "SELECT id, state FROM {schema}.products WHERE id > %s ORDER BY id LIMIT %s"

_ACTIVE = "SELECT artifact FROM {schema}.models WHERE in_use"
_CHECKSUM = """
    SELECT substring(artifact FROM greatest(1, length(artifact) - %s)) FROM {schema}.models
    WHERE in_use"""
_MODEL = "SELECT artifact FROM {schema}.models WHERE version = %s"
_MODELS = """
    SELECT version, length(artifact), fitted_at, saved_at FROM {schema}.models
    ORDER BY saved_at, version"""
_SAVE = """
    INSERT INTO {schema}.models (version, artifact, fitted_at, saved_at) VALUES (%s, %s, %s, %s)
    ON CONFLICT DO NOTHING"""
_LOCK_MODELS = "LOCK TABLE {schema}.models IN SHARE ROW EXCLUSIVE MODE"
_RETIRE = "UPDATE {schema}.models SET in_use = false WHERE in_use AND version <> %s"
_USE = "UPDATE {schema}.models SET in_use = true WHERE version = %s"
_REMOVE = "DELETE FROM {schema}.models WHERE version = %s AND NOT in_use"

_NOTE = "SELECT content FROM {schema}.notes WHERE name = %s"
_ADD_NOTE = "INSERT INTO {schema}.notes (name, content) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_SWAP_NOTE = "UPDATE {schema}.notes SET content = %s WHERE name = %s AND content = %s"


class SupabaseCatalog:
    """See ports.Catalog: the tables products, models and notes of the schema."""

    def __init__(self, connection: PostgresConnection) -> None:
        self._connection = connection

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductState]:
        return {i: codec.decode(i, raw) for i, raw in self._read(product_ids).items()}

    def merge(
        self,
        changes: Mapping[str, ProductState],
        known: Mapping[str, ProductState] | None = None,
    ) -> dict[str, ProductState]:
        return optimistic.merge(changes, known, self._read_all, self._swap)

    def changed(self, states: Mapping[str, ProductState]) -> dict[str, ProductState | None]:
        return codec.changed(states, self._read(states))

    def products(self) -> Iterator[Product]:
        last = ""
        while True:
            page = self._rows(_PRODUCTS, last, _PAGE)
            for product_id, raw in page:
                if product := codec.decode_product(product_id, raw):
                    yield product
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def active_model(self) -> bytes | None:
        return self._value(_ACTIVE)

    def model_checksum(self) -> bytes | None:
        return self._value(_CHECKSUM, CHECKSUM_BYTES - 1)

    def offer_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> bytes:
        with self._connection.transaction(PART) as session:
            self._run(session, _LOCK_MODELS)
            row = self._run(session, _ACTIVE).fetchone()
            if row is not None:
                return bytes(row[0])
            self._save(session, artifact, fitted_at)
            self._run(session, _USE, version_of(artifact))
        return artifact

    def models(self) -> list[StoredModel]:
        return [
            StoredModel(
                version=version,
                size_bytes=size,
                fitted_at=Position.parse(fitted_at),
                saved_at=saved_at,
            )
            for version, size, fitted_at, saved_at in self._rows(_MODELS)
        ]

    def model(self, version: str) -> bytes | None:
        return self._value(_MODEL, version)

    def save_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> None:
        with self._connection.transaction(PART) as session:
            self._save(session, artifact, fitted_at)

    def use_model(self, version: str) -> bool:
        with self._connection.transaction(PART) as session:
            self._run(session, _LOCK_MODELS)
            if self._run(session, _MODEL, version).fetchone() is None:
                return False
            self._run(session, _RETIRE, version)
            self._run(session, _USE, version)
        return True

    def remove_model(self, version: str) -> bool:
        return self._count(_REMOVE, version) > 0

    def note(self, name: str) -> bytes | None:
        return self._value(_NOTE, name)

    def swap_note(self, name: str, seen: bytes | None, new: bytes) -> bool:
        if seen is None:
            return self._count(_ADD_NOTE, name, new) > 0
        return self._count(_SWAP_NOTE, new, name, seen) > 0

    def health(self) -> Health:
        return self._connection.health("catalog")

    def close(self) -> None:
        self._connection.close()

    def _read(self, product_ids: Iterable[str]) -> dict[str, bytes]:
        # No text of Postgres holds a NUL, so there is no such product.
        ids = [i for i in product_ids if "\0" not in i]
        return dict(self._rows(_GET, ids)) if ids else {}

    def _read_all(self, product_ids: Sequence[str]) -> dict[str, bytes | None]:
        found = self._read(product_ids)
        return {i: found.get(i) for i in product_ids}

    def _swap(self, swaps: Mapping[str, tuple[bytes | None, bytes]]) -> list[str]:
        """Put the second value where the first is found; return the names where it was not."""
        if not swaps:
            return []
        olds, news = zip(*swaps.values(), strict=True)
        done = {i for (i,) in self._rows(_SWAP, list(swaps), list(olds), list(news))}
        return [i for i in swaps if i not in done]

    def _save(self, session: Session, artifact: bytes, fitted_at: Position) -> None:
        self._run(session, _SAVE, version_of(artifact), artifact, str(fitted_at), utc_now())

    def _value(self, statement: str, *values: object) -> bytes | None:
        rows = self._rows(statement, *values)
        return bytes(rows[0][0]) if rows else None

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._alone(statement, values).fetchall()

    def _count(self, statement: str, *values: object) -> int:
        return self._alone(statement, values).rowcount

    def _alone(self, statement: str, values: Sequence[object]) -> Cursor:
        return self._connection.run(PART, self._connection.query(statement), values, binary=True)

    def _run(self, session: Session, statement: str, *values: object) -> Cursor:
        return session.execute(self._connection.query(statement), values, binary=True)
