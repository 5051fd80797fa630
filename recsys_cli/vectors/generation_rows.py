"""The rows of the table ``generations`` in the embedded file."""

from __future__ import annotations

from pathlib import Path
from sqlite3 import Connection

import msgspec

from recsys_cli.connections.sqlite import named_queries
from recsys_cli.domain import IndexSpec, utc_now
from recsys_cli.generations import Generation

SQL = named_queries(Path(__file__).with_suffix(".sql"))


def rows(connection: Connection, index: str) -> list[Generation]:
    """Return the generations of the index, oldest first."""
    found = connection.execute(SQL["rows"], (index,))
    return [msgspec.json.decode(facts, type=Generation) for (facts,) in found]


def find(connection: Connection, index: str, number: int) -> Generation | None:
    """Return this one, if there is an entry."""
    return next((row for row in rows(connection, index) if row.number == number), None)


def put(connection: Connection, index: str, generation: Generation) -> None:
    """Put the entry in place of the earlier one."""
    facts = msgspec.json.encode(generation).decode()
    connection.execute(SQL["put"], (index, generation.number, facts))


def note_spec(connection: Connection, index: str, number: int, spec: IndexSpec) -> None:
    """Note how the index of a generation was made."""
    noted = find(connection, index, number) or Generation(number=number)
    since = noted.since or utc_now()
    put(connection, index, msgspec.structs.replace(noted, spec=spec, since=since))
