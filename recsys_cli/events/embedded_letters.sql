-- The queries of events/embedded_letters.py. A name stands before each; parameters are named.

-- name: find_stream
SELECT id FROM streams WHERE name = :stream_name

-- name: last_letter
SELECT coalesce(max(l.id), 0) FROM dead_letters AS l
JOIN streams AS s ON s.id = l.stream WHERE s.name = :stream_name

-- name: oldest_first
SELECT l.id, l.letter FROM dead_letters AS l JOIN streams AS s ON s.id = l.stream
WHERE s.name = :stream_name AND l.id > :after AND l.id <= :until
ORDER BY l.id LIMIT :count

-- name: newest_first
SELECT l.id, l.letter FROM dead_letters AS l JOIN streams AS s ON s.id = l.stream
WHERE s.name = :stream_name AND l.id < :after
ORDER BY l.id DESC LIMIT :count

-- name: find
SELECT l.id, l.letter FROM dead_letters AS l JOIN streams AS s ON s.id = l.stream
WHERE s.name = :stream_name AND l.id = :letter

-- name: drop
DELETE FROM dead_letters WHERE id = :letter
AND stream = (SELECT id FROM streams WHERE name = :stream_name)

-- name: add_event_again
-- sqlite_sequence gives the next position.
INSERT INTO events (stream, event_type, product_id, timestamp, data, original_id, replays)
SELECT id, :event_type, :product_id, :timestamp, :data, :original_id, :replays
FROM streams WHERE name = :stream_name
