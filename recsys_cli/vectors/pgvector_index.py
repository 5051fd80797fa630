"""The HNSW index of one generation on pgvector: creating it, describing it, dropping it."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import sql

from recsys_cli.connections.postgres import PostgresConnection, Session, remade
from recsys_cli.connections.postgres_errors import SchemaGone
from recsys_cli.domain import IndexInfo, IndexSpec
from recsys_cli.errors import IndexMismatch, SettingsError, UsageError
from recsys_cli.vectors import pgvector_generation_rows as generation_rows
from recsys_cli.vectors.checks import compare_hnsw
from recsys_cli.vectors.pgvector_table import PART, Table

_FACTS = """
    SELECT a.atttypmod, i.relname IS NOT NULL, coalesce(i.reloptions, ARRAY[]::text[]),
           pg_total_relation_size(a.attrelid)
    FROM pg_attribute AS a LEFT JOIN pg_class AS i ON i.oid = to_regclass(%s)
    WHERE a.attrelid = to_regclass(%s) AND a.attname = 'vector' AND NOT a.attisdropped"""

_COUNTS = """
    SELECT model_version, count(*), count(*) FILTER (
        WHERE {extension}.vector_norm(vector) = 0)
    FROM {schema}.{table} GROUP BY model_version"""

CREATE = """
    CREATE INDEX IF NOT EXISTS {index} ON {schema}.{table}
    USING hnsw (vector {extension}.vector_cosine_ops)
    WITH (m = {m}, ef_construction = {ef_construction})"""

_ATTRIBUTE = """
    CREATE INDEX IF NOT EXISTS {index} ON {schema}.{table} (left(attributes ->> {name}, 200))"""

_DROP = "DROP INDEX IF EXISTS {schema}.{index}"

_LONGEST = 2000
_M = range(2, 101)
_EF_CONSTRUCTION = range(4, 1001)
"""What pgvector allows."""


class _Facts(NamedTuple):
    """``options``: how the index was made; ``size``: of the table with all its indexes, bytes."""

    dimension: int
    has_index: bool
    options: list[str]
    size: int

    @property
    def parameters(self) -> dict[str, int]:
        return {name: int(value) for name, value in (o.split("=") for o in self.options)}


class PgvectorIndex:
    """The index over ``table``, which is generation ``number`` of the index ``name``."""

    def __init__(
        self, connection: PostgresConnection, table: Table, *, name: str, number: int
    ) -> None:
        self._connection = connection
        self._table = table
        self._name = name
        self._number = number

    def create(self, spec: IndexSpec) -> bool:
        """See ports.VectorStore.create_index. Raises SettingsError."""
        if spec.dimension > _LONGEST:
            raise SettingsError(
                f"pgvector builds no index over vectors of {spec.dimension:,} numbers",
                hint=f"set VECTOR_DIMENSION to {_LONGEST} or less",
            )
        return remade(lambda: self._create(spec))

    def _create(self, spec: IndexSpec) -> bool:
        with self._connection.transaction(PART) as session:
            facts = self._facts(session)
            if facts is not None and facts.has_index:
                self._compare(session, facts, spec)
                return False
            if facts is not None and facts.dimension != spec.dimension:
                self._make_way(session, facts, spec)
        with self._connection.transaction(self._table.part(spec.dimension)) as session:
            # Building takes as long as it takes; and of several who build, one does.
            session.execute("SET LOCAL statement_timeout = 0")
            session.execute(
                self._table.query("LOCK TABLE {schema}.{table} IN SHARE ROW EXCLUSIVE MODE")
            )
            facts = self._facts(session)
            if facts is not None and facts.has_index:
                self._compare(session, facts, spec)
                return False
            self._build(session, spec)
            generation_rows.note_spec(self._connection, session, self._name, self._number, spec)
        return True

    def drop(self) -> bool:
        """Drop the index, and those of attributes; return whether there was one."""
        with self._connection.transaction(PART) as session:
            facts = self._facts(session)
            if facts is None or not facts.has_index:
                return False
            spec = generation_rows.spec_of(self._connection, session, self._name, self._number)
            of_attributes = [self._table.attribute_index(name) for name in spec.attributes]
            for name in (self._table.index_name, *of_attributes):
                session.execute(self._table.query(_DROP, index=sql.Identifier(name)))
        return True

    def drop_all(self) -> bool:
        """Drop the embeddings too; return whether there was an index."""
        with self._connection.transaction(PART) as session:
            facts = self._facts(session)
            session.execute(self._table.query("DROP TABLE IF EXISTS {schema}.{table}"))
        return facts is not None and facts.has_index

    def dimension(self) -> int | None:
        with self._connection.transaction(PART) as session:
            facts = self._facts(session)
        return facts.dimension if facts is not None and facts.has_index else None

    def info(self) -> IndexInfo | None:
        try:
            with self._connection.transaction(PART) as session:
                facts = self._facts(session)
                if facts is None or not facts.has_index:
                    return None
                spec = generation_rows.spec_of(self._connection, session, self._name, self._number)
            with self._connection.transaction() as session:
                counts = session.execute(self._table.query(_COUNTS)).fetchall()
        except SchemaGone:
            return None  # dropped just now
        documents = sum(count for _, count, _ in counts)
        wordless = sum(zero for _, _, zero in counts)
        return IndexInfo(
            name=self._name,
            algorithm="HNSW",
            dimension=facts.dimension,
            documents=documents,
            indexed=documents - wordless,
            failures=wordless,
            memory_bytes=facts.size,
            parameters=facts.parameters | {"ef_runtime": spec.ef_runtime},
            model_versions=sorted(version for version, _, _ in counts),
            attributes=list(spec.attributes),
        )

    def is_dropped(self) -> bool:
        """Whether there are other generations by now, and this is none of them."""
        with self._connection.transaction(PART) as session:
            found = generation_rows.rows(self._connection, session, self._name)
        return bool(found) and all(generation.number != self._number for generation in found)

    def mismatch(self, said: str) -> IndexMismatch:
        return IndexMismatch(
            f"the index {self._name!r} {said}", hint="recsys index drop --embeddings"
        )

    def _facts(self, session: Session) -> _Facts | None:
        names = [self._table.index_name, self._table.name]
        row = session.execute(_FACTS, [self._table.regclass(name) for name in names]).fetchone()
        return None if row is None else _Facts(*row)

    def _make_way(self, session: Session, facts: _Facts, spec: IndexSpec) -> None:
        """Drop a table without index and rows, which was made for vectors of another size."""
        table = self._table
        if session.execute(table.query("SELECT FROM {schema}.{table} LIMIT 1")).fetchone():
            raise self.mismatch(f"holds vectors of {facts.dimension} numbers, not {spec.dimension}")
        session.execute(table.query("DROP TABLE {schema}.{table}"))

    def _build(self, session: Session, spec: IndexSpec) -> None:
        smallest = max(_EF_CONSTRUCTION.start, 2 * spec.m)
        if spec.m not in _M or spec.ef_construction not in range(smallest, _EF_CONSTRUCTION.stop):
            raise UsageError(
                f"pgvector builds no index with m {spec.m} and ef_construction"
                f" {spec.ef_construction}",
                hint=f"m: {_M.start} to {_M.stop - 1}; ef_construction: twice as much at least,"
                f" {_EF_CONSTRUCTION.start} to {_EF_CONSTRUCTION.stop - 1}",
            )
        create = self._table.query(
            CREATE,
            index=sql.Identifier(self._table.index_name),
            m=sql.Literal(spec.m),
            ef_construction=sql.Literal(spec.ef_construction),
        )
        session.execute(create)
        for name in spec.attributes:
            index = sql.Identifier(self._table.attribute_index(name))
            session.execute(self._table.query(_ATTRIBUTE, index=index, name=sql.Literal(name)))

    def _compare(self, session: Session, facts: _Facts, spec: IndexSpec) -> None:
        noted = generation_rows.spec_of(self._connection, session, self._name, self._number)
        found = {"dimension": facts.dimension, **facts.parameters, "ef_runtime": noted.ef_runtime}
        compare_hnsw(self._name, found, noted.attributes, spec)
