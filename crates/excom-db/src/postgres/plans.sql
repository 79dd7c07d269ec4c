-- After each migration: what pushes, clears and expiry call looks for rows by indexes. A session keeps the plans that it makes
-- when a function is first called. For tables that are empty by then they read these whole, and go on to when there are many
-- rows, until PostgreSQL analyzes them. What looks at many rows at once is left to it.
DO $$
DECLARE
    name regprocedure;
BEGIN
    FOR name IN
        SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE p.pronamespace = 'excom'::regnamespace AND l.lanname = 'plpgsql'
        AND p.proname NOT IN ('drop_runs', 'expire_outside', 'forget_removed')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', name);
    END LOOP;
END $$;
