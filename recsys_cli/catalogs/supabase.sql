CREATE SCHEMA IF NOT EXISTS {schema};

-- In order of bytes: paging through ids must not depend on the language of the database.
CREATE TABLE IF NOT EXISTS {schema}.products (
    id text COLLATE "C" PRIMARY KEY,
    state bytea NOT NULL);

CREATE TABLE IF NOT EXISTS {schema}.models (
    version text PRIMARY KEY,
    artifact bytea NOT NULL,
    fitted_at text NOT NULL,
    saved_at text NOT NULL,
    in_use boolean NOT NULL DEFAULT false);
CREATE UNIQUE INDEX IF NOT EXISTS models_in_use ON {schema}.models (in_use) WHERE in_use;

CREATE TABLE IF NOT EXISTS {schema}.notes (
    name text PRIMARY KEY,
    content bytea NOT NULL);

-- Without a policy nobody but the owner reads anything, also where somebody grants the schema.
ALTER TABLE {schema}.products ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.models ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.notes ENABLE ROW LEVEL SECURITY;
