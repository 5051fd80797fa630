-- The queries of vectors/embedded.py. A name stands before each.

-- name: find_index
SELECT id, dimension, created FROM vector_indexes WHERE name = ?

-- name: add_index
INSERT INTO vector_indexes (name, dimension) VALUES (?, ?) RETURNING id, dimension, created

-- name: create_index
INSERT INTO vector_indexes (name, dimension, created) VALUES (:name, :dimension, 1)
ON CONFLICT (name) DO UPDATE SET created = 1

-- name: close_index
UPDATE vector_indexes SET created = 0 WHERE id = ?

-- name: count_embeddings
SELECT model_version, count(*) FROM embeddings WHERE vector_index = ? GROUP BY model_version

-- name: block_bytes
SELECT coalesce(sum(length(vectors)), 0) FROM vector_blocks WHERE vector_index = ?

-- name: rows
SELECT slot, product_id, e.name, category, price, updated_at,
       position_major, position_minor, model_version, text_digest, attributes
FROM embeddings AS e JOIN vector_indexes AS i ON i.id = e.vector_index
WHERE i.name = ? AND product_id IN (SELECT value FROM json_each(?))

-- name: page
SELECT slot, product_id, name, category, price, updated_at,
       position_major, position_minor, model_version, text_digest, attributes
FROM embeddings WHERE vector_index = :index AND slot > :last ORDER BY slot LIMIT :limit

-- name: put_embedding
REPLACE INTO embeddings (
    vector_index, slot, product_id, name, category, price, updated_at,
    position_major, position_minor, model_version, text_digest, attributes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: free_slots
INSERT INTO free_slots (vector_index, slot)
SELECT vector_index, slot FROM embeddings WHERE slot IN (SELECT value FROM json_each(?))

-- name: delete_embeddings
DELETE FROM embeddings WHERE slot IN (SELECT value FROM json_each(?))

-- name: neighbors
SELECT slot, product_id, category, name, price, updated_at
FROM embeddings WHERE slot IN (SELECT value FROM json_each(?))
