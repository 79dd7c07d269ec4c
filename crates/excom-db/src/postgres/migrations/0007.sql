-- Entries that are what their DAGs return. A row counts while its version is the entry's, so a push that does not say so
-- need not look here, and entries are no larger.
CREATE TABLE excom.result (
    version   int8 NOT NULL,
    run       int4 NOT NULL,
    task      int4 NOT NULL,
    key       int4 NOT NULL,
    map_index int4 NOT NULL,
    PRIMARY KEY (run, task, key, map_index)
);

-- Marks an entry that was pushed in the same transaction, which has its lock.
CREATE FUNCTION excom.mark_result(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8
) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO excom.result (version, run, task, key, map_index)
    SELECT the_version, r.id, t.id, k.id, the_map
    FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id CROSS JOIN excom.name t CROSS JOIN excom.name k
    WHERE d.text = the_dag AND r.run_id = the_run_id AND t.text = the_task AND k.text = the_key
    ON CONFLICT (run, task, key, map_index) DO UPDATE SET version = excluded.version;
    RETURN FOUND;
END $$;

-- What removes an entry with its history removes this too, and so does what removes a run.
DO $do$
DECLARE
    body text := pg_get_functiondef('excom.delete'::regproc);
BEGIN
    EXECUTE replace(body, 'DELETE FROM excom.ledger
    WHERE', 'DELETE FROM excom.result
    WHERE run = the_run AND task = task_number AND map_index = the_map AND key = coalesce(key_number, key);
    DELETE FROM excom.ledger
    WHERE');
    body := pg_get_functiondef('excom.drop_runs'::regproc);
    EXECUTE replace(body, 'DELETE FROM excom.ledger WHERE', 'DELETE FROM excom.result WHERE run = old.id;
            DELETE FROM excom.ledger WHERE');
END $do$;
