CREATE SCHEMA IF NOT EXISTS {schema};

-- What is there is not touched, so nobody waits for whoever makes the rest.
-- Without a policy nobody but the owner reads anything, also where somebody grants the schema.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
        IF to_regnamespace('extensions') IS NULL THEN
            CREATE EXTENSION vector;
        ELSE
            CREATE EXTENSION vector SCHEMA extensions;
        END IF;
    END IF;
    IF to_regclass(format('%I.generations', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.generations (
            index_name text NOT NULL,
            number integer NOT NULL,
            facts text NOT NULL,
            PRIMARY KEY (index_name, number));
        ALTER TABLE {schema}.generations ENABLE ROW LEVEL SECURITY;
    END IF;
    IF to_regclass(format('%I.generation_locks', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.generation_locks (
            index_name text PRIMARY KEY,
            token bigint NOT NULL,
            holder text NOT NULL,
            expires_at timestamptz NOT NULL,
            last_number integer NOT NULL);
        ALTER TABLE {schema}.generation_locks ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;
