-- Whoever may use the table like_name may use this one in the same way: privileges and policies.
-- In a subquery a policy names the table before its columns.
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('GRANT %s ON %s TO %s', privilege_type, {regclass},
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
        FROM pg_class, aclexplode(relacl)
        WHERE oid = to_regclass(format('%I.%I', {schema_name}, {like_name}))
        UNION ALL
        SELECT format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', policyname, {regclass},
            permissive, cmd, (SELECT string_agg(quote_ident(role), ', ') FROM unnest(roles) AS role))
            || regexp_replace(
                coalesce(' USING (' || qual || ')', '')
                    || coalesce(' WITH CHECK (' || with_check || ')', ''),
                '[[:<:]]' || {like_name} || '[.]', {name} || '.', 'g')
        FROM pg_policies WHERE schemaname = {schema_name} AND tablename = {like_name}
    LOOP
        EXECUTE statement;
    END LOOP;
END $$;
