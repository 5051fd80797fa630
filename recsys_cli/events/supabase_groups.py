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

_GROUPS = """
    SELECT name, queue FROM {schema}.groups AS g
    WHERE stream = %s AND {schema}.is_there(g.queue) ORDER BY name"""
_OPEN_STREAM = "SELECT {schema}.open_stream(%s::text, %s::text)"
_OPEN_GROUP = "SELECT {schema}.open_group({stream}, {main}, {group}, {queue})"
_LOCK = "LOCK TABLE {messages} IN SHARE ROW EXCLUSIVE MODE"
_LOCK_ALL = "LOCK TABLE {messages} IN ACCESS EXCLUSIVE MODE"
_DROP_GROUP = "DELETE FROM {schema}.groups WHERE stream = %s AND name = %s"
_FORGET = """
    WITH held AS (DELETE FROM {schema}.deliveries WHERE queue = %(queue)s)
    DELETE FROM {schema}.consumers WHERE queue = %(queue)s"""
# Undelivered again: nobody has them in his hands.
_KEEP = """
    INSERT INTO {messages} (msg_id, vt, message) OVERRIDING SYSTEM VALUE
    SELECT msg_id, clock_timestamp(), message FROM {last} ON CONFLICT DO NOTHING"""


def table(queue: str) -> sql.Identifier:
    """Return the table in which pgmq keeps the messages of the queue."""
    return sql.Identifier("pgmq", f"q_{queue}")


def groups_of(connection: PostgresConnection, session: Session, stream: str) -> dict[str, str]:
    """Return the queue of each group of the stream."""
    return dict(session.execute(connection.query(_GROUPS), [stream]).fetchall())


def open_stream(connection: PostgresConnection, session: Session, stream: str) -> str:
    """Return the stream's own queue, after making what is missing of it."""
    queue = queue_of(stream)
    session.execute(connection.query(_OPEN_STREAM), [stream, queue])
    return queue


def open_group(connection: PostgresConnection, stream: str, name: str) -> sql.Composed:
    """Return the statement that makes the group where it is missing, and says whether it was."""
    return connection.query(
        _OPEN_GROUP,
        stream=sql.Literal(stream),
        main=sql.Literal(queue_of(stream)),
        group=sql.Literal(name),
        queue=sql.Literal(queue_of(stream, name)),
    )


def setup_sql(connection: PostgresConnection, stream: str, group: str) -> str:
    """Return what an operator runs where the role of a consumer may create nothing."""
    opened = open_group(connection, stream, group).as_string(None)
    return f"{connection.shown(PART)}\n{opened};\n"


def remove_group(connection: PostgresConnection, session: Session, stream: str, name: str) -> bool:
    """Drop the group, and what only it kept; without any group left, the events stay."""
    if name not in groups_of(connection, session, stream):
        return False
    main = queue_of(stream)
    # Nothing is sent meanwhile, so nothing goes to a queue that is about to be dropped.
    session.execute(connection.query(_LOCK, messages=table(main)))
    groups = groups_of(connection, session, stream)
    queue = groups.pop(name, None)
    if queue is None:
        return False
    if queue != main:
        # Before any row is: its consumers lock rows in the other order.
        session.execute(connection.query(_LOCK_ALL, messages=table(queue)))
    session.execute(connection.query(_DROP_GROUP), [stream, name])
    session.execute(connection.query(_FORGET), {"queue": queue})
    if queue == main:
        if groups:
            session.execute(connection.query("DELETE FROM {messages}", messages=table(queue)))
        return True
    if not groups:
        session.execute(connection.query(_KEEP, messages=table(main), last=table(queue)))
    session.execute("SELECT pgmq.drop_queue(%s)", [queue])
    return True
