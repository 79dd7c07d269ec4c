-- A clear that is fenced holds two task instances. Two that clear each other's would wait for each other, so all take both
-- locks, and before them those of their runs, in the order of the locks' numbers.
CREATE OR REPLACE FUNCTION excom.clear(
    own_dag text, own_run_id text, own_task text, own_map int4, own_attempt uuid,
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_cause text, the_time int8
) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    the_run int4;
    task_number int4 := (SELECT id FROM excom.name WHERE text = the_task);
    own_place int8;
    the_place int8;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(place) FROM (
        SELECT excom.run_lock(dag, run_id) AS place
        FROM unnest(ARRAY[own_dag, the_dag], ARRAY[own_run_id, the_run_id]) AS r (dag, run_id) ORDER BY 1) locks;
    the_run := excom.known_run(the_dag, the_run_id);
    the_place := excom.lock_of(the_run, task_number, the_map, 0);
    own_place := excom.lock_of(excom.known_run(own_dag, own_run_id),
                               (SELECT id FROM excom.name WHERE text = own_task), own_map, 0);
    -- Its own task instance's alone, where it clears that: a lock that is shared first could not become one.
    IF own_place < the_place THEN
        PERFORM pg_advisory_xact_lock_shared(own_place);
    END IF;
    PERFORM pg_advisory_xact_lock(the_place);
    PERFORM excom.fence(own_dag, own_run_id, own_task, own_map, own_attempt);
    IF the_key IS NULL THEN
        RETURN excom.clear_instance(the_run, task_number, the_map, the_cause, the_time);
    END IF;
    RETURN excom.end_entry(the_run, task_number, (SELECT id FROM excom.name WHERE text = the_key), the_map,
                           1::int2, the_cause, the_time)::int4;
END $$;
