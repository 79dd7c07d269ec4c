-- Whoever makes a name waits for others that make it, so who makes several does so in one order: after the locks of all runs
-- that are written in, and before what is done in them. None is given for what there is not.
CREATE FUNCTION excom.learn(dags text[], run_ids text[], names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(place) FROM (
        SELECT DISTINCT excom.run_lock(dag, run_id) AS place FROM unnest(dags, run_ids) AS r (dag, run_id)
        ORDER BY 1) locks;
    -- Each is looked for by itself, because a join would be planned for how few there were once.
    INSERT INTO excom.name (text)
    SELECT t.text FROM (SELECT DISTINCT text COLLATE "C" AS text FROM unnest(dags || names) AS n (text) ORDER BY 1) t
    WHERE t.text IS NOT NULL AND (SELECT n.id FROM excom.name n WHERE n.text = t.text) IS NULL
    ON CONFLICT DO NOTHING;
END $$;

-- A run's number, as `run_of`; other names become known with that of its DAG.
CREATE FUNCTION excom.run_with(the_dag text, the_run_id text, the_time int8, VARIADIC names text[]) RETURNS int4
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM excom.learn(ARRAY[the_dag], ARRAY[the_run_id], names);
    RETURN excom.run_of(the_dag, the_run_id, the_time);
END $$;

-- Changes what a function does, where that is there to be changed; a body that is not as expected ends the migration.
CREATE FUNCTION excom.amend(name text, VARIADIC changes text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    body text := pg_get_functiondef(('excom.' || name)::regproc);
BEGIN
    FOR change IN 1 .. array_length(changes, 1) BY 2 LOOP
        IF strpos(body, changes[change]) = 0 THEN
            RAISE EXCEPTION 'excom.% is not as this migration expects it: it lacks `%`', name, changes[change];
        END IF;
        body := replace(body, changes[change], changes[change + 1]);
    END LOOP;
    EXECUTE body;
END $$;

DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{put,note_intent,claim_orphan}'::text[] LOOP
        PERFORM excom.amend(name, 'excom.run_of(the_dag, the_run_id, the_time)',
                            'excom.run_with(the_dag, the_run_id, the_time, the_task, the_key)');
    END LOOP;
    PERFORM excom.amend('start_attempt', 'excom.run_of(the_dag, the_run_id, the_time)',
                        'excom.run_with(the_dag, the_run_id, the_time, the_task)');
    -- All that its pushes lie under is known before the first of them, new runs in the order of their locks too.
    PERFORM excom.amend('finish',
        'int4 := excom.fence_across(dags, run_ids, the_dag, the_run_id, the_task, the_map, the_attempt);', 'int4;',
        'BEGIN
    FOR push IN', 'BEGIN
    PERFORM excom.learn(dags || the_dag, run_ids || the_run_id, tasks || keys);
    the_number := excom.fence(the_dag, the_run_id, the_task, the_map, the_attempt);
    PERFORM excom.run_of(dag, run_id, the_time) FROM (
        SELECT dag, run_id FROM unnest(dags, run_ids) AS r (dag, run_id)
        GROUP BY dag, run_id ORDER BY excom.run_lock(dag, run_id)) runs;
    FOR push IN');
END $do$;

DROP FUNCTION excom.amend(text, text[]);
