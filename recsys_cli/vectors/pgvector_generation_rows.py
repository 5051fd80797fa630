"""The rows of the table ``generations`` in Postgres."""

from __future__ import annotations

import msgspec

from recsys_cli.connections.postgres import PostgresConnection, Session
from recsys_cli.domain import IndexSpec, utc_now
from recsys_cli.errors import InvalidData
from recsys_cli.generations import Generation

_ROWS = "SELECT facts FROM {schema}.generations WHERE index_name = %s ORDER BY number"
_ROW = "SELECT facts FROM {schema}.generations WHERE index_name = %s AND number = %s"
_PUT = """
    INSERT INTO {schema}.generations (index_name, number, facts) VALUES (%s, %s, %s)
    ON CONFLICT (index_name, number) DO UPDATE SET facts = excluded.facts"""
_DELETE = "DELETE FROM {schema}.generations WHERE index_name = %s AND number = %s"


def rows(connection: PostgresConnection, session: Session, index: str) -> list[Generation]:
    """Return the generations of the index, oldest first."""
    found = session.execute(connection.query(_ROWS), [index])
    return [decoded(facts) for (facts,) in found]


def find(
    connection: PostgresConnection, session: Session, index: str, number: int
) -> Generation | None:
    """Return this one, if there is an entry."""
    row = session.execute(connection.query(_ROW), [index, number]).fetchone()
    return None if row is None else decoded(row[0])


def put(
    connection: PostgresConnection, session: Session, index: str, generation: Generation
) -> None:
    """Put the entry in place of the earlier one."""
    facts = msgspec.json.encode(generation).decode()
    session.execute(connection.query(_PUT), [index, generation.number, facts])


def delete(connection: PostgresConnection, session: Session, index: str, number: int) -> None:
    session.execute(connection.query(_DELETE), [index, number])


def spec_of(connection: PostgresConnection, session: Session, index: str, number: int) -> IndexSpec:
    """Return how the index of a generation was made."""
    noted = find(connection, session, index, number)
    return noted.spec if noted else IndexSpec()


def note_spec(
    connection: PostgresConnection, session: Session, index: str, number: int, spec: IndexSpec
) -> None:
    """Note how the index of a generation was made."""
    noted = find(connection, session, index, number) or Generation(number=number)
    since = noted.since or utc_now()
    put(connection, session, index, msgspec.structs.replace(noted, spec=spec, since=since))


def decoded(facts: str) -> Generation:
    try:
        return msgspec.json.decode(facts, type=Generation)
    except msgspec.DecodeError as error:
        raise InvalidData(f"the table generations holds what is none: {error}") from error
