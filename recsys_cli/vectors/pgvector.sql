CREATE SCHEMA IF NOT EXISTS {schema};

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
        IF to_regnamespace('extensions') IS NULL THEN
            CREATE EXTENSION vector;
        ELSE
            CREATE EXTENSION vector SCHEMA extensions;
        END IF;
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS {schema}.generations (
    index_name text NOT NULL,
    number integer NOT NULL,
    facts text NOT NULL,
    PRIMARY KEY (index_name, number));

CREATE TABLE IF NOT EXISTS {schema}.generation_locks (
    index_name text PRIMARY KEY,
    token bigint NOT NULL,
    holder text NOT NULL,
    expires_at timestamptz NOT NULL,
    last_number integer NOT NULL);

-- Without a policy nobody but the owner reads anything, also where somebody grants the schema.
ALTER TABLE {schema}.generations ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.generation_locks ENABLE ROW LEVEL SECURITY;
