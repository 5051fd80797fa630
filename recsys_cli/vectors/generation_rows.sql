-- The queries of vectors/generation_rows.py and vectors/embedded_generations.py. A name stands before each.

-- name: rows
SELECT facts FROM generations WHERE index_name = ? ORDER BY number

-- name: put
REPLACE INTO generations (index_name, number, facts) VALUES (?, ?, ?)

-- name: delete
DELETE FROM generations WHERE index_name = ? AND number = ?

-- name: lock_row
SELECT token, holder, expires_at_ms, last_number FROM generation_locks WHERE index_name = ?

-- name: put_lock
REPLACE INTO generation_locks (index_name, token, holder, expires_at_ms, last_number)
VALUES (?, ?, ?, ?, ?)
