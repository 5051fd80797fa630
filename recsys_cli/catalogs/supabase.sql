CREATE SCHEMA IF NOT EXISTS {schema};

-- What is there is not touched, so nobody waits for whoever makes the rest.
-- Without a policy nobody but the owner reads anything, also where somebody grants the schema.
DO $$ BEGIN
    -- In order of bytes: paging through ids must not depend on the language of the database.
    IF to_regclass(format('%I.products', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.products (
            id text COLLATE "C" PRIMARY KEY,
            state bytea NOT NULL);
        ALTER TABLE {schema}.products ENABLE ROW LEVEL SECURITY;
    END IF;
    IF to_regclass(format('%I.models', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.models (
            version text PRIMARY KEY,
            artifact bytea NOT NULL,
            fitted_at text NOT NULL,
            saved_at text NOT NULL,
            in_use boolean NOT NULL DEFAULT false);
        CREATE UNIQUE INDEX models_in_use ON {schema}.models (in_use) WHERE in_use;
        ALTER TABLE {schema}.models ENABLE ROW LEVEL SECURITY;
    END IF;
    IF to_regclass(format('%I.notes', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.notes (
            name text PRIMARY KEY,
            content bytea NOT NULL);
        ALTER TABLE {schema}.notes ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;
