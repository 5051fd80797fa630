"""The table of generations as one document, for vector stores that cannot compare and set.

Pure functions from a document to the next. Whoever keeps it, keeps it by compare-and-set: a change
that was made from what has been replaced meanwhile is made again, from what is there then.
"""

from __future__ import annotations

import msgspec

from recsys_cli.domain import IndexSpec, utc_now
from recsys_cli.errors import InvalidData
from recsys_cli.generations import (
    FIRST,
    Generation,
    as_left,
    lock_held,
    lock_lost,
    swapped,
)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """``indexes``: the numbers of the generations whose index was created and not dropped.

    ``token``: the last that was given to a run; ``expires_at_ms``: Unix time, 0 while nobody holds
    the lock; ``last_number``: the last that was given to a generation.
    """

    generations: list[Generation]
    indexes: list[int] = []
    token: int = 0
    holder: str = ""
    expires_at_ms: int = 0
    last_number: int = FIRST


def decoded(raw: bytes | None, *, name: str, dimension: int) -> Table:
    """Return the table; in the beginning the first generation serves. Raises InvalidData."""
    if raw is None:
        return Table(generations=[Generation(spec=IndexSpec(dimension=dimension))])
    try:
        return msgspec.json.decode(raw, type=Table)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"the note {name!r} holds no table of generations: {error}") from error


def encoded(table: Table) -> bytes:
    return msgspec.json.encode(table)


def seen_by_all(table: Table, now_ms: int) -> list[Generation]:
    """Return the generations as they are for who looks now."""
    is_locked = table.expires_at_ms > now_ms
    return table.generations if is_locked else as_left(table.generations)


def find(table: Table, number: int) -> Generation | None:
    return next((row for row in table.generations if row.number == number), None)


def locked(table: Table, holder: str, now_ms: int, ttl_ms: int) -> Table:
    """Give the lock to ``holder`` under the next token. Raises LockHeld."""
    if table.expires_at_ms > now_ms:
        raise lock_held(table.holder, table.expires_at_ms - now_ms)
    return msgspec.structs.replace(
        table, token=table.token + 1, holder=holder, expires_at_ms=now_ms + ttl_ms
    )


def renewed(table: Table, token: int, now_ms: int, ttl_ms: int) -> Table:
    held(table, token, now_ms)
    return msgspec.structs.replace(table, expires_at_ms=now_ms + ttl_ms)


def unlocked(table: Table, token: int) -> Table:
    """Let go of the lock; the same table where another has it."""
    return msgspec.structs.replace(table, expires_at_ms=0) if table.token == token else table


def held(table: Table, token: int, now_ms: int) -> None:
    """Raise LockHeld unless the token holds the lock."""
    if table.token != token or table.expires_at_ms <= now_ms:
        raise lock_lost()


def numbered(table: Table, token: int, now_ms: int) -> Table:
    """Give the next number: the ``last_number`` of what is returned."""
    held(table, token, now_ms)
    return msgspec.structs.replace(table, last_number=table.last_number + 1)


def noted(table: Table, token: int, now_ms: int, generation: Generation) -> Table:
    held(table, token, now_ms)
    return with_rows(table, [generation])


def served(table: Table, token: int, now_ms: int, number: int) -> Table:
    held(table, token, now_ms)
    return with_rows(table, swapped(table.generations, number))


def dropped(table: Table, token: int, now_ms: int, number: int) -> Table:
    held(table, token, now_ms)
    left = [row for row in table.generations if row.number != number]
    return msgspec.structs.replace(without_index(table, number), generations=left)


def with_index(table: Table, number: int, spec: IndexSpec) -> Table:
    """Note that the generation has an index, made as ``spec`` says."""
    row = find(table, number)
    if row is None:
        return table  # one that was dropped does not come back with its index
    row = msgspec.structs.replace(row, spec=spec, since=row.since or utc_now())
    indexes = sorted({*table.indexes, number})
    return msgspec.structs.replace(with_rows(table, [row]), indexes=indexes)


def without_index(table: Table, number: int) -> Table:
    return msgspec.structs.replace(table, indexes=[n for n in table.indexes if n != number])


def with_rows(table: Table, rows: list[Generation]) -> Table:
    """Put these in place of the rows of the same number, or add them."""
    numbers = {row.number for row in rows}
    merged = [row for row in table.generations if row.number not in numbers] + rows
    return msgspec.structs.replace(table, generations=sorted(merged, key=lambda row: row.number))
