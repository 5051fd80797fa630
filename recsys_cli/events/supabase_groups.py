"""The streams and their groups on Postgres: which queue of pgmq is whose.

pgmq knows no groups. The first group reads the stream's own queue, which is plain pgmq; each other
group has a queue of its own, and a trigger copies into it what comes into the first, under the
same message number. That number is the position.
"""

from __future__ import annotations

from pathlib import Path

from psycopg import sql

from recsys_cli.connections.postgres import Part, PostgresConnection, Session
from recsys_cli.events.supabase_messages import queue_of

PART = Part("letters", Path(__file__).with_name("supabase.sql").read_text(encoding="utf-8"))

_GROUPS = "SELECT name, queue FROM {schema}.groups WHERE stream = %s ORDER BY name"
_ADD_STREAM = """
    INSERT INTO {schema}.streams (name, queue) VALUES (%s, %s) ON CONFLICT DO NOTHING"""
_FIND_QUEUE = "SELECT to_regclass(format('pgmq.%%I', 'q_' || %s::text)) IS NOT NULL"
_HAS_TRIGGER = """
    SELECT EXISTS (SELECT 1 FROM pg_trigger
    WHERE tgrelid = to_regclass(format('pgmq.%%I', 'q_' || %s::text)) AND tgname = %s)"""
_FAN_OUT = """
    CREATE TRIGGER {trigger} AFTER INSERT ON {messages} REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.fan_out({queue})"""
_ADD_GROUP = "INSERT INTO {schema}.groups (stream, name, queue) VALUES (%s, %s, %s)"
# What any group has still to see, as if nobody had read it yet.
_COPY = """
    INSERT INTO {messages} (msg_id, vt, message) OVERRIDING SYSTEM VALUE
    SELECT msg_id, clock_timestamp(), message FROM {other} ON CONFLICT DO NOTHING"""
_DROP_GROUP = "DELETE FROM {schema}.groups WHERE stream = %s AND name = %s"
_FORGET = """
    WITH held AS (DELETE FROM {schema}.deliveries WHERE queue = %(queue)s)
    DELETE FROM {schema}.consumers WHERE queue = %(queue)s"""


def table(queue: str) -> sql.Identifier:
    """Return the table in which pgmq keeps the messages of the queue."""
    return sql.Identifier("pgmq", f"q_{queue}")


def groups_of(connection: PostgresConnection, session: Session, stream: str) -> dict[str, str]:
    """Return the queue of each group of the stream."""
    return dict(session.execute(connection.query(_GROUPS), [stream]).fetchall())


def open_stream(connection: PostgresConnection, session: Session, stream: str) -> str:
    """Return the stream's own queue, after making what is missing of it."""
    queue = queue_of(stream)
    trigger = f"recsys_fan_out_{connection.schema}"[:63]
    if _is(session, _HAS_TRIGGER, queue, trigger):
        session.execute(connection.query(_ADD_STREAM), [stream, queue])
        return queue
    session.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [queue])
    if not _is(session, _FIND_QUEUE, queue):
        session.execute("SELECT pgmq.create(%s)", [queue])
    session.execute(connection.query(_ADD_STREAM), [stream, queue])
    if not _is(session, _HAS_TRIGGER, queue, trigger):
        session.execute(
            connection.query(
                _FAN_OUT,
                trigger=sql.Identifier(trigger),
                messages=table(queue),
                queue=sql.Literal(queue),
            )
        )
    return queue


def add_group(connection: PostgresConnection, session: Session, stream: str, name: str) -> bool:
    """Make the group at the beginning of the stream; return False where it exists already."""
    main = open_stream(connection, session, stream)
    if name in groups_of(connection, session, stream):
        return False
    # Nothing is sent meanwhile, so nothing is missed and nothing comes twice.
    session.execute(
        connection.query("LOCK TABLE {messages} IN SHARE ROW EXCLUSIVE MODE", messages=table(main))
    )
    others = groups_of(connection, session, stream)
    if name in others:
        return False
    queue = queue_of(stream, name) if others else main
    if others:
        session.execute("SELECT pgmq.create(%s)", [queue])
        for other in others.values():
            copy = connection.query(_COPY, messages=table(queue), other=table(other))
            session.execute(copy)
    session.execute(connection.query(_ADD_GROUP), [stream, name, queue])
    return True


def remove_group(connection: PostgresConnection, session: Session, stream: str, name: str) -> bool:
    """Drop the group, and what only it kept; without any group left, the events stay."""
    groups = groups_of(connection, session, stream)
    queue = groups.pop(name, None)
    if queue is None:
        return False
    session.execute(connection.query(_DROP_GROUP), [stream, name])
    session.execute(connection.query(_FORGET), {"queue": queue})
    if queue != queue_of(stream):
        session.execute("SELECT pgmq.drop_queue(%s)", [queue])
    elif groups:
        session.execute(connection.query("DELETE FROM {messages}", messages=table(queue)))
    return True


def _is(session: Session, question: str, *values: object) -> bool:
    row = session.execute(sql.SQL(question), values).fetchone()
    return bool(row and row[0])
