-- Of pushes that are done together, what they replace goes to the history in one statement, not each in its own.
CREATE OR REPLACE FUNCTION excom.put_free(
    dags text[], run_ids text[], tasks text[], maps int4[], keys text[], attempts uuid[], versions int8[],
    writers text[], sizes int8[], hashes int8[], shapes int8[], heads text[], codecs int2[], bodies bytea[],
    causes text[], times int8[]
) RETURNS TABLE (place int8, is_new bool) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    known bool[] := ARRAY(
        SELECT pg_try_advisory_xact_lock_shared(excom.run_lock(a.dag, a.run_id))
        FROM unnest(dags, run_ids) WITH ORDINALITY AS a (dag, run_id, place) ORDER BY a.place);
    places int8[];
    runs int4[];
    task_numbers int4[];
    key_numbers int4[];
    numbers int4[];
    olds tid[];
    are_new bool[];
BEGIN
    -- Of several pushes of one XCom one is done.
    SELECT array_agg(f.place), array_agg(f.run), array_agg(f.task), array_agg(f.key)
    INTO places, runs, task_numbers, key_numbers
    FROM (
        SELECT DISTINCT ON (r.id, t.id, k.id, a.map_index) a.place, r.id AS run, t.id AS task, k.id AS key,
            pg_try_advisory_xact_lock_shared(excom.lock_of(r.id, t.id, a.map_index, 0))
                AND pg_try_advisory_xact_lock(excom.lock_of(r.id, t.id, a.map_index, k.id)) AS is_free
        FROM unnest(known, dags, run_ids, tasks, maps, keys) WITH ORDINALITY
                 AS a (known, dag, run_id, task, map_index, key, place)
             JOIN excom.name d ON d.text = a.dag JOIN excom.dag_run r ON r.dag = d.id AND r.run_id = a.run_id
             JOIN excom.name t ON t.text = a.task JOIN excom.name k ON k.text = a.key
        WHERE a.known) f
    WHERE f.is_free;
    -- OFFSET keeps the entries from being joined, and what is asked for a row from being asked again by the condition.
    SELECT array_agg(f.place), array_agg(f.run), array_agg(f.task), array_agg(f.key), array_agg(f.number),
        array_agg(f.old), array_agg(f.version IS DISTINCT FROM versions[f.place] AND NOT f.is_past)
    INTO places, runs, task_numbers, key_numbers, numbers, olds, are_new
    FROM (
        SELECT a.*,
            CASE WHEN attempts[a.place] IS NULL THEN 0 ELSE (
                SELECT i.number FROM excom.task_instance i
                WHERE i.run = a.run AND i.task = a.task AND i.map_index = maps[a.place]
                AND i.attempt = attempts[a.place]) END AS number,
            e.old, e.version,
            EXISTS (SELECT FROM excom.past h
                    WHERE h.run = a.run AND h.task = a.task AND h.key = a.key AND h.map_index = maps[a.place]
                    AND h.version = versions[a.place]) AS is_past
        FROM unnest(places, runs, task_numbers, key_numbers) AS a (place, run, task, key)
             LEFT JOIN LATERAL (SELECT e.ctid AS old, e.version FROM excom.entry e
                 WHERE e.run = a.run AND e.task = a.task AND e.key = a.key AND e.map_index = maps[a.place]
                 OFFSET 0) e ON true
        OFFSET 0) f
    WHERE f.number IS NOT NULL;
    -- A row stays where it lies while its lock is held, and is found there whatever the plan was made for.
    WITH gone AS (
        DELETE FROM excom.entry e
        WHERE e.ctid = ANY (ARRAY(SELECT a.old FROM unnest(olds, are_new) AS a (old, is_new) WHERE a.is_new))
        RETURNING e.ctid AS tid, e.*)
    INSERT INTO excom.history (version, size, hash, shape, ended_at, run, task, key, map_index, number, codec,
                               reason, offloaded, writer, by, head, body)
    SELECT g.version, g.size, g.hash, g.shape, times[p.place], g.run, g.task, g.key, g.map_index, g.number, g.codec,
           0, g.codec = 2, g.writer, causes[p.place], g.head, g.body
    FROM gone g CROSS JOIN LATERAL (SELECT places[array_position(olds, g.tid)]) AS p (place);
    INSERT INTO excom.entry (version, size, hash, shape, run, task, key, map_index, number, codec, writer, head, body)
    SELECT versions[a.place], sizes[a.place], hashes[a.place], shapes[a.place], a.run, a.task, a.key, maps[a.place],
        a.number, codecs[a.place], coalesce(writers[a.place], ''), heads[a.place], bodies[a.place]
    FROM unnest(places, runs, task_numbers, key_numbers, numbers, are_new)
             AS a (place, run, task, key, number, is_new)
    WHERE a.is_new;
    RETURN QUERY SELECT * FROM unnest(places, are_new);
END $$;
