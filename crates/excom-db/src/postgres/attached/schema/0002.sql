-- What Airflow's scheduler needs besides a value: the length of one over which tasks are mapped.

-- Over which tasks others are mapped, by the hash that Airflow has of a DAG: it is found in the DAG's document, which is
-- read once.
CREATE TABLE excom.expansion (
    dag_hash text PRIMARY KEY,
    tasks    text[] NOT NULL
);

-- Whether tasks or groups are mapped over what a task returns; none where Airflow's document of the DAG is not there, or
-- compressed.
CREATE FUNCTION excom.is_expanded(the_dag text, the_run_id text, the_task text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    dag record;
    found text[];
BEGIN
    SELECT s.id, s.dag_hash, s.data IS NOT NULL AS is_readable, e.tasks INTO dag
    FROM task_instance i JOIN serialized_dag s ON s.dag_version_id = i.dag_version_id
         LEFT JOIN excom.expansion e ON e.dag_hash = s.dag_hash
    WHERE i.dag_id = the_dag AND i.run_id = the_run_id AND i.task_id = the_task AND i.map_index = -1;
    IF dag.tasks IS NOT NULL OR dag.is_readable IS NOT TRUE THEN
        RETURN the_task = ANY (dag.tasks);
    END IF;
    BEGIN
        SELECT coalesce(array_agg(DISTINCT source #>> '{}'), '{}') INTO found
        FROM (SELECT data::jsonb AS document FROM serialized_dag WHERE id = dag.id) s,
             unnest('{$.dag.tasks[*].__var.expand_input, $.dag.tasks[*].__var.op_kwargs_expand_input,
                      $.dag.task_group.**.expand_input}'::jsonpath[]) AS p (path),
             jsonb_path_query(s.document, p.path) AS input,
             jsonb_path_query(input, '$.** ? (@.key == "return_value").task_id') AS source;
    EXCEPTION WHEN data_exception THEN
        -- A document that `jsonb` cannot hold.
        RETURN NULL;
    END;
    INSERT INTO excom.expansion (dag_hash, tasks) VALUES (dag.dag_hash, found) ON CONFLICT DO NOTHING;
    RETURN the_task = ANY (found);
END $$;

ALTER FUNCTION excom.put RENAME TO put_value;

-- Makes a version the entry, as `excom.put_value`, and tells Airflow's scheduler how many task instances expand over it.
-- Where it is not known whether any do, the length is said: nobody else reads it. That of a value that cannot be expanded
-- is none, so what an earlier try returned is not expanded in its place.
CREATE FUNCTION excom.put(
    the_number int4, the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8,
    the_writer text, the_size int8, the_hash int8, the_shape int8, the_value text, the_head text, the_codec int2,
    the_body bytea, key_id text, the_cause text, the_pushed int8, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    IF NOT excom.put_value(the_number, the_dag, the_run_id, the_task, the_map, the_key, the_version, the_writer, the_size,
                           the_hash, the_shape, the_value, the_head, the_codec, the_body, key_id, the_cause, the_pushed,
                           the_time)
    THEN
        RETURN false;
    END IF;
    IF the_key <> 'return_value' OR the_map >= 0 THEN
        RETURN true;
    END IF;
    IF the_shape & 7 NOT IN (4, 5) THEN
        DELETE FROM task_map
        WHERE dag_id = the_dag AND run_id = the_run_id AND task_id = the_task AND map_index = the_map;
    ELSIF coalesce(excom.is_expanded(the_dag, the_run_id, the_task), true) THEN
        INSERT INTO task_map (dag_id, run_id, task_id, map_index, length, keys)
        VALUES (the_dag, the_run_id, the_task, the_map, the_shape >> 3, 'null')
        ON CONFLICT (dag_id, task_id, run_id, map_index) DO UPDATE SET length = excluded.length, keys = excluded.keys;
    END IF;
    RETURN true;
END $$;
