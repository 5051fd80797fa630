"""The SQL that an operator runs on Postgres where the role of a consumer may create nothing."""

from __future__ import annotations

from psycopg import sql

from recsys_cli.connections.postgres import PostgresConnection
from recsys_cli.domain import IndexSpec
from recsys_cli.generations import FIRST
from recsys_cli.vectors.pgvector_index import CREATE
from recsys_cli.vectors.pgvector_table import PART, Extension, Pgvectors, Table

_WHEREVER = "the schema of the extension"
"""Nobody has asked the server yet where pgvector is; the SQL itself does."""

# Where there are later generations, the first may have been dropped for good.
_RUN = """
DO $recsys$ BEGIN
    IF NOT EXISTS (
        SELECT FROM {schema}.generations WHERE index_name = {index} AND number > {first})
    THEN
        EXECUTE replace(
            {statements}, {wherever}, (
                SELECT quote_ident(nspname) FROM pg_extension AS e
                JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'vector'));
    END IF;
END $recsys$;
"""


def setup_sql(connection: PostgresConnection, *, index: str, dimension: int) -> str:
    """Return what makes the tables, and the first generation with its index."""
    table = Table(Pgvectors(connection, Extension(_WHEREVER, "")), index, FIRST)
    spec = IndexSpec(dimension=dimension)
    create = table.query(
        CREATE,
        index=sql.Identifier(table.index_name),
        m=sql.Literal(spec.m),
        ef_construction=sql.Literal(spec.ef_construction),
    )
    statements = f"{connection.shown(table.part(dimension))};{create.as_string(None)};"
    run = connection.query(
        _RUN,
        index=sql.Literal(index),
        first=sql.Literal(FIRST),
        statements=sql.Literal(statements),
        wherever=sql.Literal(sql.Identifier(_WHEREVER).as_string(None)),
    )
    return connection.shown(PART) + run.as_string(None)
