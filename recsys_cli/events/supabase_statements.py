"""The statements of the stream on Postgres: each is a transaction of its own, and one round trip.

A group's queue is looked up once, then remembered. So each statement asks again whether ``queue``
is still that group's (``mine``): where it is not, it does nothing and returns no row.
"""

from __future__ import annotations

HAS_PGMQ = """
    SELECT 1 WHERE to_regnamespace('pgmq') IS NOT NULL
        OR EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgmq')"""

MINE = """
    mine AS (
        SELECT queue FROM {schema}.groups
        WHERE stream = %(stream)s AND name = %(group)s AND queue = %(queue)s)"""

FIND = "SELECT queue FROM {schema}.groups WHERE stream = %(stream)s AND name = %(group)s"

# Nothing is sent where the trigger is missing that brings it to all groups.
SEND = """
    SELECT pgmq.send_batch(%(queue)s::text, %(messages)s::jsonb[])
    WHERE EXISTS (SELECT 1 FROM {schema}.streams WHERE name = %(stream)s AND queue = %(queue)s)
      AND EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = to_regclass(format('pgmq.%%I', 'q_' || %(queue)s::text))
          AND tgname = 'recsys_fan_out_' || {schema_name})"""

LAST_HELD = """
    SELECT coalesce(max(msg_id), 0) FROM {schema}.deliveries
    WHERE queue = %(queue)s AND consumer = %(consumer)s"""

# "again": one that the consumer's predecessor left, else one that anybody has held too long.
# "fresh": the oldest others. Another program's read of one is no delivery, and no attempt.
# Without any event a row of NULLs.
TAKE = """
    WITH {mine},
    seen AS (
        INSERT INTO {schema}.consumers AS c (queue, name, seen_at)
        SELECT queue, %(consumer)s, clock_timestamp() FROM mine
        ON CONFLICT (queue, name) DO UPDATE SET seen_at = excluded.seen_at
        WHERE c.seen_at < excluded.seen_at - interval '100 ms'),
    again AS (
        SELECT msg_id FROM {schema}.deliveries
        WHERE queue = (SELECT queue FROM mine) AND (
            (consumer = %(consumer)s AND msg_id > %(after)s AND msg_id <= %(until)s)
            OR held_since <= clock_timestamp() - %(claim)s * interval '1 ms')
        ORDER BY
            NOT (consumer = %(consumer)s AND msg_id > %(after)s AND msg_id <= %(until)s), msg_id
        LIMIT 1 FOR UPDATE SKIP LOCKED),
    fresh AS (
        SELECT msg_id FROM {messages} AS m
        WHERE vt <= clock_timestamp() AND EXISTS (SELECT 1 FROM mine)
          AND NOT EXISTS (SELECT 1 FROM again)
          AND NOT EXISTS (
            SELECT 1 FROM {schema}.deliveries AS d
            WHERE d.queue = %(queue)s AND d.msg_id = m.msg_id)
        ORDER BY msg_id LIMIT %(count)s FOR UPDATE OF m SKIP LOCKED),
    taken AS (SELECT msg_id FROM again UNION ALL SELECT msg_id FROM fresh),
    read AS (
        UPDATE {messages} AS m SET
            vt = clock_timestamp() + %(claim)s * interval '1 ms', read_ct = read_ct + 1
        FROM taken WHERE m.msg_id = taken.msg_id
        RETURNING m.msg_id, coalesce(m.message::text, 'null') AS message),
    held AS (
        INSERT INTO {schema}.deliveries AS d (queue, msg_id, consumer, held_since, attempts)
        SELECT %(queue)s, msg_id, %(consumer)s, clock_timestamp(), 1 FROM taken
        ON CONFLICT (queue, msg_id) DO UPDATE SET
            consumer = excluded.consumer, held_since = excluded.held_since,
            attempts = d.attempts + 1
        RETURNING msg_id, attempts, failure)
    SELECT msg_id, attempts, failure, message, EXISTS (SELECT 1 FROM again)
    FROM mine LEFT JOIN (held LEFT JOIN read USING (msg_id)) ON true ORDER BY msg_id"""

# Deliveries are locked before messages, as in the others: else two would wait crosswise.
ACKNOWLEDGE = """
    WITH {mine},
    released AS (
        DELETE FROM {schema}.deliveries
        WHERE queue = (SELECT queue FROM mine) AND msg_id = ANY(%(numbers)s) RETURNING 1),
    done AS (
        DELETE FROM {messages}
        WHERE EXISTS (SELECT 1 FROM mine) AND msg_id = ANY(%(numbers)s)
          AND (SELECT count(*) FROM released) >= 0)
    SELECT 1 FROM mine"""

HOLD = """
    WITH {mine},
    held AS (
        UPDATE {schema}.deliveries AS d SET
            held_since = clock_timestamp() - %(idle)s * interval '1 ms',
            failure = coalesce(%(failure)s::text, failure)
        FROM unnest(%(numbers)s::bigint[], %(consumers)s::text[]) AS w(number, holder)
        WHERE queue = (SELECT queue FROM mine) AND msg_id = number AND consumer = holder
        RETURNING msg_id),
    kept AS (
        UPDATE {messages} AS m SET
            vt = clock_timestamp() + (%(claim)s - %(idle)s) * interval '1 ms'
        FROM held WHERE m.msg_id = held.msg_id)
    SELECT 1 FROM mine"""

BURY = """
    WITH {mine},
    wanted AS (
        SELECT * FROM unnest(%(numbers)s::bigint[], %(letters)s::text[])
        WITH ORDINALITY AS w(number, letter, place)),
    held AS (
        DELETE FROM {schema}.deliveries
        WHERE queue = (SELECT queue FROM mine) AND msg_id = ANY(%(numbers)s) RETURNING msg_id),
    done AS (DELETE FROM {messages} WHERE msg_id IN (SELECT msg_id FROM held)),
    buried AS (
        INSERT INTO {schema}.letters (stream, letter)
        SELECT %(stream)s, letter FROM wanted JOIN held ON number = msg_id ORDER BY place)
    SELECT 1 FROM mine"""

FORGET = """
    WITH {mine},
    forgotten AS (
        DELETE FROM {schema}.consumers AS c
        WHERE queue = (SELECT queue FROM mine) AND name = ANY(%(names)s)
          AND NOT EXISTS (
            SELECT 1 FROM {schema}.deliveries AS d
            WHERE d.queue = c.queue AND d.consumer = c.name)
        RETURNING name)
    SELECT name FROM mine LEFT JOIN forgotten ON true"""
