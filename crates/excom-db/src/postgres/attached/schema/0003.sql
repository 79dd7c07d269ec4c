-- Rows that something else wrote, where they are to expire too, or to be Excom's own.

-- The first rule that catches each of some rows, whoever wrote them; without an id where something else did. Kinds of
-- rules are those of `excom.caught`.
CREATE FUNCTION excom.caught_among(
    kinds int2[], bounds int8[], runs int4[], tasks text[], maps int4[], keys text[]
) RETURNS TABLE (id int8, dag_run_id int4, task_id text, map_index int4, key text, rule int8)
LANGUAGE sql STABLE AS $$
    WITH asked AS MATERIALIZED (
        SELECT e.id, e.dag_run_id, e.dag_id, e.run_id, e.task_id, e.map_index, e.key, e.version,
               (e.version >> 22) + 1577836800000 AS pushed_at
        FROM unnest(runs, tasks, maps, keys) AS a (run, task, map_index, key)
             JOIN excom.entry() e ON e.dag_run_id = a.run AND e.task_id = a.task AND e.map_index = a.map_index
                                  AND e.key = a.key),
    run AS MATERIALIZED (
        SELECT r.id, coalesce(r.state, '') IN ('queued', 'running') OR EXISTS (
                SELECT FROM task_instance i WHERE i.dag_id = r.dag_id AND i.run_id = r.run_id
                AND coalesce(i.state, '') NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed')
            ) AS goes_on,
            CASE WHEN r.state = 'success' AND NOT EXISTS (
                SELECT FROM task_instance i WHERE i.dag_id = r.dag_id AND i.run_id = r.run_id
                AND coalesce(i.state, '') NOT IN ('success', 'skipped', 'removed'))
            THEN excom.millis(r.end_date) END AS done
        FROM dag_run r WHERE kinds <> '{0}' AND r.id IN (SELECT dag_run_id FROM asked)),
    task AS MATERIALIZED (
        SELECT own.id AS run, a.task_id, (
            SELECT count(*) FROM (
                SELECT FROM dag_run r
                WHERE r.dag_id = own.dag_id
                AND (coalesce(r.logical_date, r.run_after), r.run_id COLLATE "C")
                    > (coalesce(own.logical_date, own.run_after), own.run_id COLLATE "C")
                AND EXISTS (SELECT FROM xcom x WHERE x.dag_run_id = r.id AND x.task_id = a.task_id)
                LIMIT (SELECT max(bound) FROM unnest(kinds, bounds) AS k (kind, bound) WHERE kind = 1)) n) AS newer
        FROM (SELECT DISTINCT dag_run_id, task_id FROM asked WHERE 1 = ANY (kinds)) a
        JOIN dag_run own ON own.id = a.dag_run_id)
    SELECT a.id, a.dag_run_id, a.task_id, a.map_index, a.key, min(k.place)
    FROM asked a LEFT JOIN run ON run.id = a.dag_run_id
         LEFT JOIN task t ON t.run = a.dag_run_id AND t.task_id = a.task_id
    CROSS JOIN unnest(kinds, bounds) WITH ORDINALITY AS k (kind, bound, place)
    WHERE CASE k.kind
        WHEN 0 THEN a.pushed_at < k.bound
        WHEN 1 THEN NOT run.goes_on AND t.newer >= k.bound
        WHEN 2 THEN a.pushed_at < k.bound AND NOT run.goes_on AND NOT EXISTS (
            SELECT FROM excom.ledger l
            WHERE l.dag_id = a.dag_id AND l.run_id = a.run_id AND l.task_id = a.task_id AND l.key = a.key
            AND ((l.map_index = a.map_index AND l.version = a.version) OR (l.map_index = -2 AND l.version = 0))
            AND l.last >= k.bound)
        ELSE run.done < k.bound
    END
    GROUP BY a.id, a.dag_run_id, a.task_id, a.map_index, a.key
$$;

-- The same of what Excom wrote, by the ids.
CREATE OR REPLACE FUNCTION excom.caught(kinds int2[], bounds int8[], ids int8[]) RETURNS TABLE (id int8, rule int8)
LANGUAGE sql STABLE AS $$
    SELECT c.id, c.rule
    FROM (SELECT array_agg(m.dag_run_id) AS runs, array_agg(m.task_id) AS tasks, array_agg(m.map_index) AS maps,
                 array_agg(m.key) AS keys
          FROM excom.extra m WHERE m.id = ANY (ids)) a
         CROSS JOIN LATERAL excom.caught_among(kinds, bounds, a.runs, a.tasks, a.maps, a.keys) c
    WHERE c.id = ANY (ids)
$$;

-- Makes expired what something else wrote, as far as it is the version that was found and the same rules still catch it.
-- A row that is just being written is left alone. What is told of them is what the server keeps them in.
CREATE FUNCTION excom.expire_outside(
    kinds int2[], bounds int8[], texts text[], dags text[], run_ids text[], tasks text[], maps int4[], keys text[],
    versions int8[], the_time int8, OUT entries int8, OUT bytes int8
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM excom.fence(NULL, NULL, NULL, NULL, NULL);
    WITH found AS MATERIALIZED (
        SELECT e.dag_run_id, e.task_id, e.map_index, e.key, e.version
        FROM unnest(dags, run_ids, tasks, maps, keys, versions) AS a (dag, run_id, task, map_index, key, version)
        JOIN excom.entry() e ON e.dag_id = a.dag AND e.run_id = a.run_id AND e.task_id = a.task
            AND e.map_index = a.map_index AND e.key = a.key AND e.version = a.version
        WHERE e.id IS NULL),
    whole AS (
        SELECT array_agg(dag_run_id) AS runs, array_agg(task_id) AS tasks, array_agg(map_index) AS maps,
               array_agg(key) AS keys FROM found),
    due AS MATERIALIZED (
        SELECT f.*, texts[c.rule] AS cause
        FROM whole CROSS JOIN LATERAL
             excom.caught_among(kinds, bounds, whole.runs, whole.tasks, whole.maps, whole.keys) c
             JOIN found f USING (dag_run_id, task_id, map_index, key)
        WHERE c.id IS NULL),
    held AS MATERIALIZED (
        SELECT x.dag_run_id, x.task_id, x.map_index, x.key, x.dag_id, x.run_id, due.version, due.cause,
               pg_column_size(x.value) AS size
        FROM xcom x JOIN due ON due.dag_run_id = x.dag_run_id AND due.task_id = x.task_id
             AND due.map_index = x.map_index AND due.key = x.key AND due.version = excom.version_of(x.timestamp)
        FOR UPDATE OF x SKIP LOCKED),
    gone AS (
        DELETE FROM xcom x USING held
        WHERE x.dag_run_id = held.dag_run_id AND x.task_id = held.task_id AND x.map_index = held.map_index
        AND x.key = held.key),
    past AS (
        INSERT INTO excom.history (version, ended_at, dag_run_id, map_index, codec, reason, offloaded, task_id, key,
                                   dag_id, run_id, writer, by, body)
        SELECT version, the_time, dag_run_id, map_index, -1, 2, false, task_id, key, dag_id, run_id, '', cause, ''
        FROM held)
    SELECT count(*), coalesce(sum(size), 0)::int8 INTO entries, bytes FROM held;
END $$;

-- Makes Excom's own what something else wrote, while it is the version that was found; false otherwise. It stays the
-- version that it is, and Airflow's row as it is.
CREATE FUNCTION excom.adopt(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8, the_writer text,
    the_size int8, the_hash int8, the_shape int8, the_head text, the_codec int2, the_body bytea, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
    held record;
BEGIN
    PERFORM excom.fence(NULL, NULL, NULL, NULL, NULL);
    PERFORM pg_advisory_xact_lock_shared(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL));
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, the_key));
    SELECT x.timestamp, x.value INTO held FROM xcom x
    WHERE x.dag_run_id = the_run AND x.task_id = the_task AND x.map_index = the_map AND x.key = the_key
    AND excom.version_of(x.timestamp) = the_version
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- What is still noted of a version of Excom's that this one replaced goes, with its object.
    WITH stale AS (
        DELETE FROM excom.extra m
        WHERE m.dag_run_id = the_run AND m.task_id = the_task AND m.map_index = the_map AND m.key = the_key
        AND m.pushed <> held.timestamp AND NOT excom.is_reference(held.value, m.version, m.codec, m.body)
        RETURNING m.version, m.codec, m.body)
    INSERT INTO excom.loose_object (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
    SELECT version, the_dag, the_run_id, the_task, the_map, the_key, excom.reference(codec, body, 'store'), the_time, true
    FROM stale WHERE codec = 2
    ON CONFLICT (version, dag_id, run_id, task_id, map_index, key) DO UPDATE
        SET store = excluded.store, since = excluded.since, purge = true;
    INSERT INTO excom.extra (version, size, hash, shape, pushed, dag_run_id, map_index, number, codec, task_id, key,
                             dag_id, run_id, writer, head, body)
    VALUES (the_version, the_size, the_hash, the_shape, held.timestamp, the_run, the_map, 0, the_codec, the_task, the_key,
            the_dag, the_run_id, the_writer, the_head, the_body)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
