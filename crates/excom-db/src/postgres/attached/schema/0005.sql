-- What a DAG returns is marked in Airflow's row by the push itself, and a push that does not say so takes the mark away, as
-- with Airflow's own server.

-- Whether Airflow's rows have the mark: before Airflow 3.3 they have not.
CREATE FUNCTION excom.has_results() RETURNS bool LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_attribute
                   WHERE attrelid = 'xcom'::regclass AND attname = 'dag_result' AND NOT attisdropped);
END $$;

DO $do$
DECLARE
    body text := pg_get_functiondef('excom.put_value'::regproc);
BEGIN
    body := replace(body, '    INSERT INTO xcom (', '    IF excom.has_results() THEN
        INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp, dag_result)
        VALUES (the_run, the_task, the_map, the_key, the_dag, the_run_id, the_value::jsonb, excom.time_of(the_pushed),
                false)
        ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE
            SET value = excluded.value, timestamp = excluded.timestamp, dag_result = false;
    ELSE
    INSERT INTO xcom (');
    EXECUTE replace(body, '    INSERT INTO excom.extra AS m (', '    END IF;
    INSERT INTO excom.extra AS m (');
END $do$;

-- Marks the row of a push in the same transaction, which has its lock.
CREATE FUNCTION excom.mark_result(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text
) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    IF excom.has_results() THEN
        UPDATE xcom SET dag_result = true
        WHERE dag_run_id = excom.known_run(the_dag, the_run_id) AND task_id = the_task AND map_index = the_map
        AND key = the_key;
    END IF;
    RETURN true;
END $$;
