-- The one embedded file: event stream, catalog and vectors. Opened by connections/sqlite.py only.
-- Every statement may run again. A change of meaning raises SCHEMA_VERSION in sqlite_schema.py.

CREATE TABLE IF NOT EXISTS streams (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- AUTOINCREMENT: a position is never used twice, however many events have been deleted.
-- The fields are as other programs may write them: any of them may be missing or wrong.
-- The last two are there for replayed events only.
CREATE TABLE IF NOT EXISTS events (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    stream     INTEGER NOT NULL REFERENCES streams,
    event_type TEXT,
    product_id TEXT,
    timestamp  TEXT,
    data       TEXT,
    original_id TEXT,
    replays     TEXT
);
CREATE INDEX IF NOT EXISTS events_of_stream ON events (stream);

-- Everything up to last_delivered was delivered; what of it is not in deliveries is acknowledged.
CREATE TABLE IF NOT EXISTS consumer_groups (
    id             INTEGER PRIMARY KEY,
    stream         INTEGER NOT NULL REFERENCES streams,
    name           TEXT NOT NULL,
    last_delivered INTEGER NOT NULL DEFAULT 0,
    UNIQUE (stream, name)
);

CREATE TABLE IF NOT EXISTS consumers (
    consumer_group INTEGER NOT NULL REFERENCES consumer_groups,
    name           TEXT NOT NULL,
    last_seen_ms   INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, name)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS deliveries (
    consumer_group  INTEGER NOT NULL REFERENCES consumer_groups,
    position        INTEGER NOT NULL,
    consumer        TEXT NOT NULL,
    delivered_at_ms INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    failure         TEXT, -- JSON: domain.Failure
    PRIMARY KEY (consumer_group, position)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS dead_letters (
    id     INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams,
    letter TEXT NOT NULL -- JSON: domain.DeadLetter
);

CREATE TABLE IF NOT EXISTS products (
    id    TEXT PRIMARY KEY,
    state BLOB NOT NULL -- catalogs/codec.py
);

CREATE TABLE IF NOT EXISTS notes (
    name    TEXT PRIMARY KEY,
    content BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS models (
    id        INTEGER PRIMARY KEY,
    artifact  BLOB NOT NULL,
    version   TEXT NOT NULL DEFAULT '',
    fitted_at TEXT NOT NULL DEFAULT '0-0', -- a position
    saved_at  TEXT NOT NULL DEFAULT ''
);

-- At most one row: the model in use.
CREATE TABLE IF NOT EXISTS active_model (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    model    INTEGER NOT NULL REFERENCES models
);

-- The generations of an index name, and who may change them.
CREATE TABLE IF NOT EXISTS generations (
    index_name TEXT NOT NULL,
    number     INTEGER NOT NULL,
    facts      TEXT NOT NULL, -- JSON: generations.Generation
    PRIMARY KEY (index_name, number)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS generation_locks (
    index_name    TEXT PRIMARY KEY,
    token         INTEGER NOT NULL,
    holder        TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    last_number   INTEGER NOT NULL -- the highest that a generation ever had
) WITHOUT ROWID;

-- A row appears with the first embedding; created = 1 once the index may be searched.
CREATE TABLE IF NOT EXISTS vector_indexes (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL,
    created   INTEGER NOT NULL DEFAULT 0
);

-- 512 vectors of little-endian float32, one after the other; slot = 512 * block + row.
CREATE TABLE IF NOT EXISTS vector_blocks (
    block        INTEGER PRIMARY KEY,
    vector_index INTEGER NOT NULL REFERENCES vector_indexes,
    vectors      BLOB NOT NULL
);

CREATE TABLE IF NOT EXISTS free_slots (
    vector_index INTEGER NOT NULL REFERENCES vector_indexes,
    slot         INTEGER NOT NULL,
    PRIMARY KEY (vector_index, slot)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS embeddings (
    slot           INTEGER PRIMARY KEY,
    vector_index   INTEGER NOT NULL REFERENCES vector_indexes,
    product_id     TEXT NOT NULL,
    name           TEXT NOT NULL,
    category       TEXT NOT NULL,
    price          REAL,
    updated_at     TEXT NOT NULL,
    position_major INTEGER NOT NULL,
    position_minor INTEGER NOT NULL,
    model_version  TEXT NOT NULL,
    text_digest    TEXT NOT NULL,
    attributes     TEXT NOT NULL DEFAULT '{}', -- JSON: those that can be filtered by
    UNIQUE (vector_index, product_id)
);
CREATE INDEX IF NOT EXISTS embeddings_by_category
    ON embeddings (vector_index, category, price);
