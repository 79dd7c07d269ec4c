-- The start of a try that has ended is remembered as long as Airflow remembers the try, so that a repetition that comes late
-- clears nothing.

-- What fields were rendered to becomes one of a task instance's notes.
CREATE TABLE excom.note (
    dag_run_id int4 NOT NULL,
    map_index  int4 NOT NULL,
    number     int4 NOT NULL,           -- of the try that wrote it
    task_id    text NOT NULL,
    name       text NOT NULL,
    value      text NOT NULL,           -- JSON
    PRIMARY KEY (dag_run_id, task_id, map_index, name)
);
INSERT INTO excom.note (dag_run_id, map_index, number, task_id, name, value)
SELECT dag_run_id, map_index, number, task_id, 'rendered', fields FROM excom.rendered;
DROP TABLE excom.rendered;

DO $do$
DECLARE
    body text := pg_get_functiondef('excom.delete'::regproc);
BEGIN
    EXECUTE replace(body, 'DELETE FROM excom.rendered WHERE', 'DELETE FROM excom.note WHERE name = ''rendered'' AND');
END $do$;

-- What Airflow, or a person, removed or wrote over is noticed here: its objects are to go, and what is known of runs that
-- are gone is forgotten. A row that holds a reference still, saved again as it was, keeps what it refers to. What a push
-- changes meanwhile has another id, and stays.
CREATE OR REPLACE FUNCTION excom.forget_removed(the_time int8) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    forgotten int8;
BEGIN
    WITH stale AS MATERIALIZED (
        SELECT id FROM excom.extra m WHERE NOT EXISTS (
            SELECT FROM xcom x
            WHERE x.dag_run_id = m.dag_run_id AND x.task_id = m.task_id AND x.map_index = m.map_index AND x.key = m.key
            AND (x.timestamp = m.pushed OR excom.is_reference(x.value, m.version, m.codec, m.body)))),
    gone AS (
        DELETE FROM excom.extra m USING stale WHERE m.id = stale.id
        RETURNING m.version, m.dag_id, m.run_id, m.task_id, m.map_index, m.key, m.codec, m.body),
    past AS (
        DELETE FROM excom.history h WHERE NOT EXISTS (SELECT FROM dag_run r WHERE r.id = h.dag_run_id)
        RETURNING h.version, h.dag_id, h.run_id, h.task_id, h.map_index, h.key, h.codec, h.body),
    loose AS (
        INSERT INTO excom.loose_object (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
        SELECT version, dag_id, run_id, task_id, map_index, key, excom.reference(codec, body, 'store'), the_time, true
        FROM (SELECT * FROM gone UNION ALL SELECT * FROM past) versions WHERE codec = 2
        ON CONFLICT (version, dag_id, run_id, task_id, map_index, key) DO UPDATE
            SET store = excluded.store, since = excluded.since, purge = true)
    SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM past) INTO forgotten;
    DELETE FROM excom.note e WHERE NOT EXISTS (SELECT FROM dag_run r WHERE r.id = e.dag_run_id);
    DELETE FROM excom.ledger l
    WHERE NOT EXISTS (SELECT FROM dag_run r WHERE r.dag_id = l.dag_id AND r.run_id = l.run_id);
    DELETE FROM excom.started s
    WHERE NOT EXISTS (SELECT FROM task_instance i WHERE i.id = s.attempt)
    AND NOT EXISTS (SELECT FROM task_instance_history h WHERE h.task_instance_id = s.attempt);
    RETURN forgotten;
END $$;
