"""The vector store on Postgres: a table for each generation, and pgvector's HNSW over it.

Each call is one statement, so it travels once. Of two writers the newer one wins: the statement
that writes compares positions. Rows are locked in the order of their ids, so two hardly ever wait
crosswise; where they do, as rows turn up meanwhile, Postgres ends one, and its caller tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from psycopg import errors, sql

from recsys_cli.connections.postgres import Cursor, Part, PostgresConnection
from recsys_cli.connections.postgres_errors import SchemaGone
from recsys_cli.domain import (
    Health,
    IndexInfo,
    IndexSpec,
    Neighbor,
    Position,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.errors import BackendRefused, IndexMissing
from recsys_cli.generations import FIRST
from recsys_cli.ports import Embedding, Vector
from recsys_cli.vectors import pgvector_query
from recsys_cli.vectors import pgvector_rows as rows
from recsys_cli.vectors.checks import checked
from recsys_cli.vectors.pgvector_index import PgvectorIndex
from recsys_cli.vectors.pgvector_query import Asked, Given, Kept, Search
from recsys_cli.vectors.pgvector_table import Pgvectors, Table, received
from recsys_cli.vectors.ties import closest

_PAGE = 500
_STORED = """
    SELECT product_id, position_major, position_minor, model_version, text_digest
    FROM {schema}.{table} WHERE product_id = ANY(%(ids)s)"""

_GET = """
    SELECT product_id, {extension}.vector_send(vector)
    FROM {schema}.{table} WHERE product_id = ANY(%(ids)s)"""

_UNINDEXED = """
    SELECT product_id FROM {schema}.{table}
    WHERE product_id = ANY(%(ids)s) AND {extension}.vector_norm(vector) = 0"""

_PAGE_OF = """
    SELECT product_id, {extension}.vector_send(vector), name, category, price, attributes::text,
           updated_at, position_major, position_minor, model_version, text_digest
    FROM {schema}.{table} WHERE product_id > %(last)s ORDER BY product_id LIMIT %(limit)s"""

_REMOVE = """
    WITH old AS (
        SELECT t.product_id FROM {schema}.{table} AS t
        JOIN unnest(%(ids)s::text[], %(majors)s::bigint[], %(minors)s::bigint[])
            AS w(product_id, major, minor) ON w.product_id = t.product_id
        WHERE (t.position_major, t.position_minor) <= (w.major, w.minor)
        ORDER BY t.product_id FOR UPDATE OF t)
    DELETE FROM {schema}.{table} AS t USING old WHERE t.product_id = old.product_id"""


class Pgvector:
    """See ports.VectorStore: one generation of the index, with vectors of ``dimension``.

    ``ef_runtime``: candidates that a search keeps, None for the usual number.
    """

    is_eventually_consistent: ClassVar[bool] = False
    can_search_exactly: ClassVar[bool] = True
    can_tell_unindexed: ClassVar[bool] = True

    def __init__(
        self,
        connection: PostgresConnection,
        *,
        index: str,
        dimension: int,
        generation: int = FIRST,
        ef_runtime: int | None = None,
        pgvectors: Pgvectors | None = None,
    ) -> None:
        self._connection = connection
        self._dimension = dimension
        self._ef = IndexSpec().ef_runtime if ef_runtime is None else ef_runtime
        self._name = index
        self._pgvectors = pgvectors or Pgvectors(connection)
        self._table = Table(self._pgvectors, index, generation)
        self._index = PgvectorIndex(connection, self._table, name=index, number=generation)

    def create_index(self, spec: IndexSpec) -> bool:
        return self._index.create(spec)

    def drop_index(self, *, embeddings: bool) -> bool:
        return self._index.drop_all() if embeddings else self._index.drop()

    def dimension(self) -> int | None:
        return self._index.dimension()

    def info(self) -> IndexInfo | None:
        return self._index.info()

    def stored(self, product_ids: Sequence[str]) -> dict[str, StoredEmbedding]:
        return {
            product_id: rows.source(*facts) for product_id, *facts in self._of(_STORED, product_ids)
        }

    def write(self, embeddings: Sequence[Embedding]) -> None:
        self._prepared(embeddings)()

    def begin_write(self, embeddings: Sequence[Embedding]) -> Callable[[], object]:
        return self._pgvectors.begin(self._prepared(embeddings))

    def remove(self, positions: Mapping[str, Position]) -> None:
        values = {
            "ids": list(positions),
            "majors": [at.major for at in positions.values()],
            "minors": [at.minor for at in positions.values()],
        }
        try:
            self._run(_REMOVE, values)
        except SchemaGone:
            return

    def get(self, product_ids: Sequence[str]) -> dict[str, Vector]:
        return {i: received(sent) for i, sent in self._of(_GET, product_ids)}

    def unindexed(self, product_ids: Sequence[str]) -> list[str]:
        return [i for (i,) in self._of(_UNINDEXED, product_ids)]

    def entries(self) -> Iterator[list[Embedding]]:
        last = ""
        while True:
            try:
                page = self._rows(_PAGE_OF, {"last": last, "limit": _PAGE})
            except SchemaGone:
                return
            if page:
                yield [rows.entry(*row) for row in page]
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def search(
        self, vector: Vector, limit: int, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        return self.search_many([vector], limit, where)[0]

    def search_many(
        self,
        queries: Sequence[Vector],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[list[Neighbor]]:
        for query in queries:
            checked(query, self._dimension, "the query")
        if not queries or limit < 1:
            return [[] for _ in queries]
        names = [str(place) for place in range(len(queries))]
        asked = Given(dict(zip(names, queries, strict=True)))
        try:
            found = self._closest(asked, names, limit, self._search(where, ef, exact=exact))
        except SchemaGone as error:
            raise self._missing() from error
        return [found[name] for name in names]

    def neighbors(
        self,
        product_ids: Sequence[str],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,
        exact: bool = False,
    ) -> dict[str, list[Neighbor]]:
        if limit < 1:
            return {i: [] for i in self.stored(product_ids)}
        how = self._search(where, ef, exact=exact)
        ids = list(dict.fromkeys(i for i in product_ids if "\0" not in i))
        try:
            found = self._closest(Kept(), ids, limit, how)
        except SchemaGone:
            return {}  # nothing was ever written
        return {i: found[i] for i in ids if i in found}

    def health(self) -> Health:
        health = self._connection.health("vectors")
        # Says so where pgvector is missing, or may not be used.
        self._pgvectors.extension  # noqa: B018
        return health

    def close(self) -> None:
        self._pgvectors.close()

    def _prepared(self, embeddings: Sequence[Embedding]) -> Callable[[], None]:
        """Return what writes these, which are found to be sound."""
        for embedding in embeddings:
            if embedding.vector is not None:
                whose = f"the vector of {embedding.product_id!r}"
                checked(embedding.vector, self._dimension, whose)
        batches = [rows.columns(some) for some in rows.rounds(embeddings)]

        def write() -> None:
            for values in batches:
                try:
                    self._run(rows.WRITE, values, self._table.part(self._dimension))
                except BackendRefused:
                    # Who may make no table need not, where the generation was dropped meanwhile.
                    if not self._index.is_dropped():
                        raise

        return write

    def _search(self, where: SearchFilter | None, ef: int | None, *, exact: bool) -> Search:
        return Search(
            where or SearchFilter(),
            self._ef if ef is None else ef,
            exact=exact,
            is_iterative=self._pgvectors.extension.is_iterative,
        )

    def _closest(
        self, asked: Asked, names: Sequence[str], limit: int, how: Search
    ) -> dict[str, list[Neighbor]]:
        def nearest(some: Sequence[str], count: int) -> dict[str, list[Neighbor]]:
            found = self._nearest(asked, some, count, how)
            if not how.exact:
                # The graph was left before enough passed the filter: then few do, so compare those.
                short = [name for name, mine in found.items() if len(mine) < limit]
                found |= self._nearest(asked, short, count, how._replace(exact=True))
            return found

        return {name: mine[:limit] for name, mine in closest(names, limit, nearest).items()}

    def _nearest(
        self, asked: Asked, names: Sequence[str], limit: int, how: Search
    ) -> dict[str, list[Neighbor]]:
        if not names:
            return {}
        how = how._replace(ef=max(how.ef, limit))
        index = self._table.regclass(self._table.index_name)
        values = {"limit": limit, "index": index, **how.values(), **asked.values(names)}
        found = pgvector_query.answer(self._rows(how.text(asked), values))
        if not found.has_index:
            raise self._missing()
        return found.neighbors

    def _missing(self) -> IndexMissing:
        return IndexMissing(f"there is no index {self._name!r}", hint="recsys index create")

    def _of(self, statement: str, product_ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return what the statement says of these products; nothing where there is no table."""
        # No text of Postgres holds a NUL, so there is no such product.
        ids = [i for i in product_ids if "\0" not in i]
        if not ids:
            return []
        try:
            return self._rows(statement, {"ids": ids})
        except SchemaGone:
            return []

    def _rows(self, statement: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        return self._run(statement, values).fetchall()

    def _run(
        self, statement: str, values: Mapping[str, object], part: Part | None = None
    ) -> Cursor:
        query = self._table.query(statement, dimension=sql.Literal(self._dimension))
        try:
            return self._connection.run(part, query, values, binary=True)
        except BackendRefused as error:
            if isinstance(error.__cause__, errors.DataException):
                raise self._index.mismatch(f"holds others: {error}") from error
            raise
