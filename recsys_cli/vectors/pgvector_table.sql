-- A vector stays in its row, also where the row is longer than a quarter of a page. The index has
-- the beginning of a category only, which may be longer than an index can hold.
DO $$ BEGIN
    IF to_regclass({regclass}) IS NULL THEN
        CREATE TABLE {schema}.{table} (
            product_id text COLLATE "C" PRIMARY KEY,
            vector {extension}.vector({dimension}) NOT NULL,
            name text NOT NULL,
            category text NOT NULL,
            price double precision,
            attributes jsonb NOT NULL CHECK (jsonb_typeof(attributes) = 'object'),
            updated_at text NOT NULL,
            position_major bigint NOT NULL,
            position_minor bigint NOT NULL,
            model_version text NOT NULL,
            text_digest text NOT NULL)
        WITH (toast_tuple_target = 8160);
        CREATE INDEX {category_index} ON {schema}.{table} (left(category, 200));
        ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;
