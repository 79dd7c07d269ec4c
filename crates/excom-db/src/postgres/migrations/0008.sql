-- Whoever writes in several runs holds all of them. Expiry holds such runs too, alone and in the order of the locks' numbers;
-- so pushes to other runs, and ends with such pushes, take the locks of their runs in that order before anything else.
CREATE FUNCTION excom.fence_across(
    dags text[], run_ids text[], the_dag text, the_run_id text, the_task text, the_map int4, the_attempt uuid
) RETURNS int4 LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(place) FROM (
        SELECT DISTINCT excom.run_lock(dag, run_id) AS place
        FROM unnest(dags || the_dag, run_ids || the_run_id) AS r (dag, run_id) ORDER BY 1) locks;
    RETURN excom.fence(the_dag, the_run_id, the_task, the_map, the_attempt);
END $$;

DO $do$
DECLARE
    body text := pg_get_functiondef('excom.finish'::regproc);
BEGIN
    EXECUTE replace(body, 'excom.fence(the_dag', 'excom.fence_across(dags, run_ids, the_dag');
END $do$;
