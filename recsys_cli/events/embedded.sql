-- The queries of events/embedded.py. A name stands before each; parameters are named.

-- name: add_stream
INSERT INTO streams (name) VALUES (:stream_name) ON CONFLICT DO NOTHING

-- name: add_group
INSERT INTO consumer_groups (stream, name)
SELECT id, :group_name FROM streams WHERE name = :stream_name
ON CONFLICT DO NOTHING

-- name: find_group
SELECT s.id AS stream, g.id AS "group", coalesce(g.last_delivered, 0) AS last_delivered
FROM streams AS s LEFT JOIN consumer_groups AS g ON g.stream = s.id AND g.name = :group_name
WHERE s.name = :stream_name

-- name: see_consumer
INSERT INTO consumers (consumer_group, name, last_seen_ms) VALUES (:group, :consumer, :now_ms)
ON CONFLICT DO UPDATE SET last_seen_ms = excluded.last_seen_ms

-- name: last_seen
SELECT last_seen_ms FROM consumers WHERE consumer_group = :group AND name = :consumer

-- name: last_position
SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'

-- name: add_event
INSERT INTO events (position, stream, event_type, product_id, timestamp, data)
VALUES (?, ?, ?, ?, ?, ?)

-- name: last_held
SELECT coalesce(max(position), 0) FROM deliveries
WHERE consumer_group = :group AND consumer = :consumer

-- name: due_again
-- Turn 1: what the consumer's predecessor left; 2: what anyone has held too long.
SELECT min(position) FROM (
    SELECT min(position) AS position, 1 AS turn FROM deliveries
    WHERE consumer_group = :group AND consumer = :consumer
      AND position > :after AND position <= :until
    UNION ALL
    SELECT min(position), 2 FROM deliveries
    WHERE consumer_group = :group AND delivered_at_ms <= :now_ms - :claim_idle_ms)
WHERE position IS NOT NULL
GROUP BY turn ORDER BY turn LIMIT 1

-- name: due_new
SELECT position FROM events
WHERE stream = :stream AND position > :last_delivered
ORDER BY position LIMIT :count

-- name: hand_out
INSERT INTO deliveries (consumer_group, position, consumer, delivered_at_ms, attempts)
SELECT :group, value, :consumer, :now_ms, 1 FROM json_each(:positions) WHERE true
ON CONFLICT DO UPDATE SET
    consumer = excluded.consumer,
    delivered_at_ms = excluded.delivered_at_ms,
    attempts = attempts + 1

-- name: advance_group
UPDATE consumer_groups SET last_delivered = max(last_delivered, :newest) WHERE id = :group

-- name: handed_out
-- As bytes, whatever types another program has stored: the codec judges them.
SELECT d.position, attempts, failure, e.position IS NULL,
       CAST(event_type AS BLOB), CAST(product_id AS BLOB), CAST(timestamp AS BLOB),
       CAST(data AS BLOB), CAST(original_id AS BLOB), CAST(replays AS BLOB)
FROM json_each(:positions) AS wanted
JOIN deliveries AS d ON consumer_group = :group AND d.position = wanted.value
LEFT JOIN events AS e ON e.position = d.position
ORDER BY wanted.key

-- name: hold
UPDATE deliveries SET delivered_at_ms = :now_ms - :idle_ms, failure = coalesce(:failure, failure)
WHERE consumer_group = :group AND position = :position AND consumer = :consumer

-- name: is_pending
SELECT EXISTS (
    SELECT 1 FROM deliveries WHERE consumer_group = :group AND position = :position)

-- name: acknowledge
DELETE FROM deliveries
WHERE consumer_group = :group AND position IN (SELECT value FROM json_each(:positions))

-- name: delete_acknowledged_by_all
DELETE FROM events
WHERE stream = :stream
  AND position IN (SELECT value FROM json_each(:positions))
  AND NOT EXISTS (
    SELECT 1 FROM consumer_groups AS g
    WHERE g.stream = :stream AND (
        g.last_delivered < events.position
        OR EXISTS (
            SELECT 1 FROM deliveries AS d
            WHERE d.consumer_group = g.id AND d.position = events.position)))

-- name: forget_deliveries
DELETE FROM deliveries WHERE consumer_group IN (
    SELECT id FROM consumer_groups WHERE stream = :stream AND name = :name)

-- name: forget_consumers
DELETE FROM consumers WHERE consumer_group IN (
    SELECT id FROM consumer_groups WHERE stream = :stream AND name = :name)

-- name: positions
-- Without any group nobody has acknowledged anything.
SELECT json_group_array(position) FROM events
WHERE stream = :stream AND EXISTS (SELECT 1 FROM consumer_groups WHERE stream = :stream)

-- name: drop_group
DELETE FROM consumer_groups WHERE stream = :stream AND name = :name

-- name: forget_consumer
DELETE FROM consumers
WHERE consumer_group = :group AND name = :consumer
  AND NOT EXISTS (
    SELECT 1 FROM deliveries AS d
    WHERE d.consumer_group = :group AND d.consumer = :consumer)

-- name: add_dead_letter
INSERT INTO dead_letters (stream, letter) VALUES (:stream, :letter)

-- name: backlog
SELECT position,
       CAST(event_type AS BLOB), CAST(product_id AS BLOB), CAST(timestamp AS BLOB),
       CAST(data AS BLOB), CAST(original_id AS BLOB), CAST(replays AS BLOB)
FROM events
WHERE stream = :stream AND position > :after AND position <= :until
  AND (position > :last_delivered OR EXISTS (
    SELECT 1 FROM deliveries AS d
    WHERE d.consumer_group = :group AND d.position = events.position))
ORDER BY position LIMIT :count

-- name: pending
SELECT position, CAST(product_id AS TEXT), CAST(event_type AS TEXT),
       consumer, max(0, :now_ms - delivered_at_ms), attempts, failure
FROM deliveries LEFT JOIN events USING (position)
WHERE consumer_group = :group AND delivered_at_ms <= :now_ms - :min_idle_ms
  AND (:consumer IS NULL OR consumer = :consumer)
ORDER BY position LIMIT :count

-- name: count_events
SELECT count(*), count(*) FILTER (WHERE position > :last_delivered)
FROM events WHERE stream = :stream

-- name: count_pending
SELECT count(*), max(0, :now_ms - min(delivered_at_ms))
FROM deliveries WHERE consumer_group = :group

-- name: count_dead_letters
SELECT count(*) FROM dead_letters WHERE stream = :stream

-- name: groups
SELECT g.name,
       (SELECT count(*) FROM events WHERE stream = :stream AND position > g.last_delivered),
       (SELECT count(*) FROM deliveries WHERE consumer_group = g.id),
       (SELECT max(0, :now_ms - max(last_seen_ms)) FROM consumers WHERE consumer_group = g.id)
FROM consumer_groups AS g WHERE g.stream = :stream ORDER BY g.name

-- name: consumers
SELECT name, max(0, :now_ms - last_seen_ms), (
    SELECT count(*) FROM deliveries AS d
    WHERE d.consumer_group = c.consumer_group AND d.consumer = c.name)
FROM consumers AS c WHERE consumer_group = :group ORDER BY name
