"""Where one generation's embeddings are in Postgres, and how its numbers travel.

Generation n of the index ``product:vectors`` is the table ``product_vectors_n``, its HNSW index
``product_vectors_n_hnsw``. The first table is made when first written to, each other as soon as its
generation is begun: consumers write to it from then on, and may not be allowed to make one.
"""

from __future__ import annotations

import hashlib
import re
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from psycopg import sql

from recsys_cli.connections.postgres import Part, PostgresConnection, Reals, Session
from recsys_cli.errors import BackendRefused
from recsys_cli.ports import Vector

PART = Part("generation_locks", Path(__file__).with_name("pgvector.sql").read_text("utf-8"))

_DDL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
_ACCESS = Path(__file__).with_name("pgvector_access.sql").read_text(encoding="utf-8")

_PLAIN = re.compile(r"[a-z][a-z0-9:]{0,29}")
_KEPT_CHARACTERS = 20
_ITERATIVE = (0, 8)
"""The version of pgvector that goes on where a filter has left too few (iterative scan)."""

_EXTENSION = """
    SELECT extversion, nspname FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace
    WHERE extname = 'vector'"""

_FLOAT4 = 700
_VECTOR_HEADER_BYTES = 4


class Extension(NamedTuple):
    """pgvector as it is installed."""

    schema: str
    version: str

    @property
    def is_iterative(self) -> bool:
        numbers = [int(number) for number in re.findall(r"\d+", self.version)]
        return tuple(numbers[:2]) >= _ITERATIVE


class Pgvectors:
    """The connection, what pgvector is behind it, looked up once, and a thread that writes."""

    def __init__(self, connection: PostgresConnection, found: Extension | None = None) -> None:
        self.connection = connection
        self._found = found
        self._lock = threading.Lock()
        self._writer: ThreadPoolExecutor | None = None

    @property
    def extension(self) -> Extension:
        if self._found is None:
            with self.connection.transaction(PART) as session:
                row = session.execute(_EXTENSION).fetchone()
            if row is None:
                raise BackendRefused(
                    f"Postgres at {self.connection.place} has no pgvector",
                    hint="create the extension vector, in Supabase under Database > Extensions",
                )
            self._found = Extension(version=row[0], schema=row[1])
        return self._found

    def begin(self, write: Callable[[], None]) -> Callable[[], object]:
        """Carry this out after what was begun before; return what waits for its end.

        The graph takes the server a millisecond a product, in which others can be embedded.
        """
        with self._lock:
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, "recsys-pgvector")
            return self._writer.submit(write).result

    def close(self) -> None:
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.shutdown()
        self.connection.close()


class Table:
    """The table of one generation of ``index``."""

    def __init__(self, pgvectors: Pgvectors, index: str, generation: int) -> None:
        self._pgvectors = pgvectors
        self._connection = pgvectors.connection
        self.name = f"{_slug(index)}_{generation}"
        self.index_name = f"{self.name}_hnsw"

    def part(self, dimension: int) -> Part:
        """Return what makes the table where it is missing."""
        statement = self.query(
            _DDL,
            dimension=sql.Literal(dimension),
            regclass=sql.Literal(self.regclass(self.name)),
            category_index=sql.Identifier(f"{self.name}_category"),
        )
        ddl = statement.as_string(None)
        return Part(self.name, ddl.replace("{", "{{").replace("}", "}}"))

    def attribute_index(self, attribute: str) -> str:
        return f"{self.name}_{hashlib.sha256(attribute.encode()).hexdigest()[:12]}"

    def make_like(self, session: Session, other: Table, dimension: int) -> None:
        """Make the table, for whoever may use the ``other``."""
        session.execute(self._connection.query(self.part(dimension).ddl))
        names = {
            "regclass": sql.Literal(self.regclass(self.name)),
            "name": sql.Literal(self.name),
            "like_name": sql.Literal(other.name),
        }
        session.execute(self.query(_ACCESS, **names))

    def query(self, text: str, **names: sql.Composable) -> sql.Composed:
        """Return the statement with {schema}, {table}, {extension} and the names put in."""
        return self._connection.query(
            text,
            table=sql.Identifier(self.name),
            extension=sql.Identifier(self._pgvectors.extension.schema),
            **names,
        )

    def regclass(self, name: str) -> str:
        """Return the name of what is in our schema, as to_regclass reads it."""
        return sql.Identifier(self._connection.schema, name).as_string(None)


def numbers(vectors: Sequence[Vector]) -> Reals:
    """Return the numbers of all vectors, one after the other."""
    if not vectors:
        return Reals(struct.pack(">iii", 0, 0, _FLOAT4))
    import numpy as np  # noqa: PLC0415 - who has a vector has loaded it

    rows = np.stack(vectors)
    header = np.array([1, 0, _FLOAT4, rows.size, 1], ">i4")
    body = np.empty(rows.size, [("bytes", ">i4"), ("value", ">f4")])
    body["bytes"] = 4
    body["value"] = rows.reshape(-1)
    return Reals(header.tobytes() + body.tobytes())


def received(sent: bytes) -> Vector:
    """Return what pgvector's vector_send gave."""
    import numpy as np  # noqa: PLC0415 - as above

    return np.frombuffer(sent, ">f4", offset=_VECTOR_HEADER_BYTES).astype(np.float32)


def _slug(index: str) -> str:
    """Return what a table's name begins with: legal, and of this index only."""
    if _PLAIN.fullmatch(index):
        return index.replace(":", "_")
    plain = re.sub("[^a-z0-9]", "_", index.lower())[:_KEPT_CHARACTERS]
    return f"v_{plain}_{hashlib.sha256(index.encode()).hexdigest()[:16]}"
