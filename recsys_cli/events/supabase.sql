CREATE SCHEMA IF NOT EXISTS {schema};

DO $$ BEGIN
    IF to_regnamespace('pgmq') IS NULL THEN
        CREATE EXTENSION pgmq CASCADE;
    END IF;
END $$;

-- What is there is not touched, so nobody waits for whoever makes the rest.
-- Without a policy nobody but the owner reads anything, also where somebody grants the schema.
DO $$ BEGIN
    IF to_regclass(format('%I.streams', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.streams (
            name text PRIMARY KEY,
            queue text NOT NULL UNIQUE);
        ALTER TABLE {schema}.streams ENABLE ROW LEVEL SECURITY;
    END IF;
    -- The first group of a stream reads the stream's own queue; each other has one of its own.
    IF to_regclass(format('%I.groups', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.groups (
            stream text NOT NULL REFERENCES {schema}.streams,
            name text NOT NULL,
            queue text NOT NULL UNIQUE,
            PRIMARY KEY (stream, name));
        ALTER TABLE {schema}.groups ENABLE ROW LEVEL SECURITY;
    END IF;
    IF to_regclass(format('%I.consumers', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.consumers (
            queue text NOT NULL,
            name text NOT NULL,
            seen_at timestamptz NOT NULL,
            PRIMARY KEY (queue, name));
        ALTER TABLE {schema}.consumers ENABLE ROW LEVEL SECURITY;
    END IF;
    -- What consumers have in their hands; held_since counts towards the claim time.
    IF to_regclass(format('%I.deliveries', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.deliveries (
            queue text NOT NULL,
            msg_id bigint NOT NULL,
            consumer text NOT NULL,
            held_since timestamptz NOT NULL,
            attempts integer NOT NULL,
            failure text,
            PRIMARY KEY (queue, msg_id));
        ALTER TABLE {schema}.deliveries ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;

-- The queue of a group may be deleted in a dashboard, and its row stays.
CREATE OR REPLACE FUNCTION {schema}.is_there(queue text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT to_regclass(format('pgmq.%I', 'q_' || queue)) IS NOT NULL
$$;

-- Whatever sends to the stream's queue, also another program by pgmq.send, reaches every group,
-- under the same number, and wakes who waits. Where no group reads that queue any more, nothing
-- stays in it.
CREATE OR REPLACE FUNCTION {schema}.fan_out() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    target text;
    is_read boolean := false;
    has_others boolean := false;
BEGIN
    FOR target IN
        SELECT g.queue FROM {schema}.groups AS g JOIN {schema}.streams AS s ON s.name = g.stream
        WHERE s.queue = TG_ARGV[0] AND {schema}.is_there(g.queue)
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
    PERFORM pg_notify('recsys_' || TG_ARGV[0], '');
    RETURN NULL;
END $$;
-- It runs as its owner, so nobody else may put it on a table of his own.
REVOKE ALL ON FUNCTION {schema}.fan_out() FROM PUBLIC;

CREATE OR REPLACE FUNCTION {schema}.open_stream(stream_name text, stream_queue text)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    messages text := format('pgmq.%I', 'q_' || stream_queue);
    trigger_name text := 'recsys_fan_out_' || {schema_name};
    numbers regclass;
    other text;
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass(messages) AND tgname = trigger_name)
    THEN
        PERFORM pg_advisory_xact_lock(hashtext(stream_queue));
        IF to_regclass(messages) IS NULL THEN
            PERFORM pgmq.create(stream_queue);
        END IF;
        SELECT substr(tgname, length('recsys_fan_out_') + 1) INTO other FROM pg_trigger
        WHERE tgrelid = to_regclass(messages) AND starts_with(tgname, 'recsys_fan_out_')
          -- Ours is there where another of us was faster.
          AND tgname <> trigger_name;
        IF FOUND THEN
            RAISE 'the queue % is that of the schema %', stream_queue, other
            USING HINT = 'set PRODUCT_STREAM_KEY to a name that only this schema has';
        END IF;
        -- By the clock: a queue that was dropped goes on behind the positions it had. As given
        -- already, so that what another program has sent before is not beyond the last one.
        numbers := pg_get_serial_sequence(messages, 'msg_id');
        PERFORM setval(numbers, greatest(
            pg_sequence_last_value(numbers),
            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint));
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS added '
            'FOR EACH STATEMENT EXECUTE FUNCTION %I.fan_out(%L)',
            trigger_name, messages, {schema_name}, stream_queue);
    END IF;
    IF NOT EXISTS (SELECT 1 FROM {schema}.streams WHERE name = stream_name) THEN
        INSERT INTO {schema}.streams (name, queue) VALUES (stream_name, stream_queue)
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- Says whether the group is new. It begins with whatever another group has still to see; while
-- that is copied nothing is sent, so nothing is missed and nothing comes twice.
CREATE OR REPLACE FUNCTION {schema}.open_group(
    stream_name text, stream_queue text, group_name text, group_queue text)
RETURNS boolean LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    mine text := stream_queue;
    other text;
BEGIN
    PERFORM {schema}.open_stream(stream_name, stream_queue);
    IF EXISTS (
        SELECT 1 FROM {schema}.groups AS g
        WHERE stream = stream_name AND name = group_name AND {schema}.is_there(g.queue))
    THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE pgmq.%I IN SHARE ROW EXCLUSIVE MODE', 'q_' || stream_queue);
    DELETE FROM {schema}.groups AS g WHERE stream = stream_name AND NOT {schema}.is_there(g.queue);
    IF EXISTS (SELECT 1 FROM {schema}.groups WHERE stream = stream_name AND name = group_name) THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT 1 FROM {schema}.groups WHERE stream = stream_name) THEN
        mine := group_queue;
        PERFORM pgmq.create(mine);
        FOR other IN SELECT queue FROM {schema}.groups WHERE stream = stream_name LOOP
            EXECUTE format(
                'INSERT INTO pgmq.%I (msg_id, vt, message) OVERRIDING SYSTEM VALUE '
                'SELECT msg_id, clock_timestamp(), message FROM pgmq.%I ON CONFLICT DO NOTHING',
                'q_' || mine, 'q_' || other);
        END LOOP;
    END IF;
    INSERT INTO {schema}.groups (stream, name, queue) VALUES (stream_name, group_name, mine);
    RETURN true;
END $$;

-- The last, as its being there says that all is.
DO $$ BEGIN
    IF to_regclass(format('%I.letters', {schema_name})) IS NULL THEN
        CREATE TABLE {schema}.letters (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            stream text NOT NULL,
            letter text NOT NULL);
        CREATE INDEX letters_stream ON {schema}.letters (stream, id);
        ALTER TABLE {schema}.letters ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;
