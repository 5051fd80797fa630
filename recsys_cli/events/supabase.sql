CREATE SCHEMA IF NOT EXISTS {schema};

DO $$ BEGIN
    IF to_regnamespace('pgmq') IS NULL THEN
        CREATE EXTENSION pgmq CASCADE;
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS {schema}.streams (
    name text PRIMARY KEY,
    queue text NOT NULL UNIQUE);

-- The first group of a stream reads the stream's own queue; each other has one of its own.
CREATE TABLE IF NOT EXISTS {schema}.groups (
    stream text NOT NULL REFERENCES {schema}.streams,
    name text NOT NULL,
    queue text NOT NULL UNIQUE,
    PRIMARY KEY (stream, name));

CREATE TABLE IF NOT EXISTS {schema}.consumers (
    queue text NOT NULL,
    name text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (queue, name));

-- What consumers have in their hands; held_since counts towards the claim time.
CREATE TABLE IF NOT EXISTS {schema}.deliveries (
    queue text NOT NULL,
    msg_id bigint NOT NULL,
    consumer text NOT NULL,
    held_since timestamptz NOT NULL,
    attempts integer NOT NULL,
    failure text,
    PRIMARY KEY (queue, msg_id));

-- Whatever sends to the stream's queue, also another program by pgmq.send, reaches every group,
-- under the same number. Where no group reads that queue any more, nothing stays in it.
CREATE OR REPLACE FUNCTION {schema}.fan_out() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    target text;
    is_read boolean := false;
    has_others boolean := false;
BEGIN
    FOR target IN
        SELECT g.queue FROM {schema}.groups AS g JOIN {schema}.streams AS s ON s.name = g.stream
        WHERE s.queue = TG_ARGV[0]
    LOOP
        IF target = TG_ARGV[0] THEN
            is_read := true;
        ELSE
            has_others := true;
            EXECUTE format(
                'INSERT INTO pgmq.%I (msg_id, vt, message) OVERRIDING SYSTEM VALUE '
                'SELECT msg_id, vt, message FROM added ON CONFLICT DO NOTHING', 'q_' || target);
        END IF;
    END LOOP;
    IF has_others AND NOT is_read THEN
        EXECUTE format(
            'DELETE FROM pgmq.%I WHERE msg_id IN (SELECT msg_id FROM added)', 'q_' || TG_ARGV[0]);
    END IF;
    RETURN NULL;
END $$;

CREATE TABLE IF NOT EXISTS {schema}.letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream text NOT NULL,
    letter text NOT NULL);
CREATE INDEX IF NOT EXISTS letters_stream ON {schema}.letters (stream, id);

ALTER TABLE {schema}.streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.groups ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.consumers ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.letters ENABLE ROW LEVEL SECURITY;
