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

-- name: due
-- Turn 1: what the consumer's predecessor left; 2: what anyone has held too long; 3: new events.
SELECT position, min(turn) FROM (
    SELECT position, 1 AS turn FROM deliveries
    WHERE consumer_group = :group AND consumer = :consumer
      AND position > :after AND position <= :until
    UNION ALL
    SELECT position, 2 FROM deliveries
    WHERE consumer_group = :group AND delivered_at_ms <= :now_ms - :claim_idle_ms
    UNION ALL
    SELECT * FROM (
        SELECT position, 3 FROM events
        WHERE stream = :stream AND position > :last_delivered
        ORDER BY position LIMIT :count))
GROUP BY position ORDER BY min(turn), position LIMIT :count

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
SELECT position, attempts,
       CAST(event_type AS BLOB), CAST(product_id AS BLOB),
       CAST(timestamp AS BLOB), CAST(data AS BLOB)
FROM json_each(:positions) AS wanted
JOIN deliveries ON consumer_group = :group AND position = wanted.value
JOIN events USING (position)
ORDER BY wanted.key

-- name: acknowledge
DELETE FROM deliveries
WHERE consumer_group = :group AND position IN (SELECT value FROM json_each(:positions))

-- name: delete_acknowledged_by_all
DELETE FROM events
WHERE stream = :stream AND position IN (SELECT value FROM json_each(:positions))
  AND NOT EXISTS (
    SELECT 1 FROM consumer_groups AS g
    WHERE g.stream = :stream AND (
        g.last_delivered < events.position
        OR EXISTS (
            SELECT 1 FROM deliveries AS d
            WHERE d.consumer_group = g.id AND d.position = events.position)))

-- name: add_dead_letter
INSERT INTO dead_letters (stream, letter) VALUES (?, ?)

-- name: dead_letters
SELECT letter FROM dead_letters WHERE stream = :stream ORDER BY id DESC LIMIT :count

-- name: backlog
SELECT position,
       CAST(event_type AS BLOB), CAST(product_id AS BLOB),
       CAST(timestamp AS BLOB), CAST(data AS BLOB)
FROM events
WHERE stream = :stream AND position > :after AND position <= :until
  AND (position > :last_delivered OR EXISTS (
    SELECT 1 FROM deliveries AS d
    WHERE d.consumer_group = :group AND d.position = events.position))
ORDER BY position LIMIT :count

-- name: pending
SELECT position, CAST(product_id AS TEXT), CAST(event_type AS TEXT),
       consumer, max(0, :now_ms - delivered_at_ms), attempts
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

-- name: consumers
SELECT name, max(0, :now_ms - last_seen_ms), (
    SELECT count(*) FROM deliveries AS d
    WHERE d.consumer_group = c.consumer_group AND d.consumer = c.name)
FROM consumers AS c WHERE consumer_group = :group ORDER BY name
