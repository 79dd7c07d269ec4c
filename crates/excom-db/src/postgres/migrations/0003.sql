-- What expired by its age, a row for many versions of a run: one for each would cost several times the removal of the
-- entries.
CREATE TYPE excom.expired_version AS (
    version   int8,
    size      int8,
    hash      int8,
    shape     int8,
    task      int4,
    key       int4,
    map_index int4,
    number    int4,
    offloaded bool,
    writer    text,
    head      text
);
CREATE TABLE excom.expired (
    id       int8 NOT NULL,             -- from the sequence of the history, so that both have one order
    ended_at int8 NOT NULL,
    run      int4 NOT NULL,
    by       text NOT NULL,
    versions excom.expired_version[] NOT NULL
);
CREATE INDEX expired_run ON excom.expired (run);
CREATE INDEX expired_ended ON excom.expired (ended_at);

-- What a row says of each version, as the history says it.
CREATE FUNCTION excom.versions_of(x excom.expired) RETURNS TABLE (
    id int8, version int8, size int8, hash int8, shape int8, ended_at int8, run int4, task int4, key int4, map_index int4,
    number int4, codec int2, reason int2, offloaded bool, writer text, by text, head text, body bytea
) LANGUAGE sql IMMUTABLE AS $$
    SELECT x.id, v.version, v.size, v.hash, v.shape, x.ended_at, x.run, v.task, v.key, v.map_index, v.number, -1::int2,
        2::int2, v.offloaded, v.writer, x.by, v.head, ''::bytea
    FROM unnest(x.versions) v
$$;

-- All versions that ended. Those with bytes are in `history` alone.
CREATE VIEW excom.past AS
    SELECT id, version, size, hash, shape, ended_at, run, task, key, map_index, number, codec, reason, offloaded, writer,
        by, head, body
    FROM excom.history
    UNION ALL
    SELECT l.* FROM excom.expired x CROSS JOIN LATERAL excom.versions_of(x) l;

-- Gives each version that expired in a run a row of its own, so that single ones can be removed.
CREATE FUNCTION excom.part_expired(the_run int4) RETURNS void LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM excom.expired x WHERE run = the_run RETURNING x)
    INSERT INTO excom.history (id, version, size, hash, shape, ended_at, run, task, key, map_index, number, codec,
                               reason, offloaded, writer, by, head, body)
    OVERRIDING SYSTEM VALUE
    SELECT l.* FROM gone CROSS JOIN LATERAL excom.versions_of(gone.x) l
$$;

-- What asks whether a version was there before looks at all of them; what removes some parts them first.
DO $do$
DECLARE
    name text;
    body text;
BEGIN
    FOREACH name IN ARRAY '{put,put_free,note_intent,is_spent}'::text[] LOOP
        EXECUTE replace(pg_get_functiondef(('excom.' || name)::regproc), 'excom.history', 'excom.past');
    END LOOP;
    body := pg_get_functiondef('excom.delete'::regproc);
    EXECUTE replace(body, '    WITH entries AS (', E'    PERFORM excom.part_expired(the_run);\n    WITH entries AS (');
END $do$;

-- Makes entries expired that were pushed before some times, among the next so many in the order in which they were made;
-- each by the first rule that catches it. Nothing is written in their runs meanwhile, so what is noted is what goes.
CREATE FUNCTION excom.expire_aged(
    bounds int8[], texts text[], the_dag text, after_id int8, the_limit int8, the_time int8,
    OUT entries int8, OUT bytes int8, OUT next_id int8
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    -- Versions begin with their time.
    first_versions int8[] := ARRAY(SELECT (bound - 1577836800000) << 22
                                   FROM unnest(bounds) WITH ORDINALITY AS b (bound, place) ORDER BY place);
    newest int8 := (SELECT max(v) FROM unnest(first_versions) v);
    last_id int8;
    length int8;
    runs int4[];
    gone record;
BEGIN
    entries := 0;
    bytes := 0;
    SELECT max(id), count(*) INTO last_id, length
    FROM (SELECT id FROM excom.entry WHERE id > after_id ORDER BY id LIMIT the_limit) page;
    IF length >= the_limit THEN
        next_id := last_id;
    END IF;
    -- Runs are looked for one by one, because a join would be planned for all that there are.
    SELECT array_agg(e.run), count(pg_advisory_xact_lock(e.place)) INTO runs, length
    FROM (SELECT p.run, (SELECT excom.run_lock(d.text, r.run_id)
                         FROM excom.dag_run r JOIN excom.name d ON d.id = r.dag
                         WHERE r.id = p.run AND (the_dag IS NULL OR d.text = the_dag)) AS place
          FROM (SELECT DISTINCT run FROM excom.entry WHERE id > after_id AND id <= last_id AND version < newest) p
          ORDER BY place) e
    WHERE e.place IS NOT NULL;
    IF runs IS NULL THEN
        RETURN;
    END IF;
    FOR rule IN 1..cardinality(bounds) LOOP
        INSERT INTO excom.loose_object (version, run, task, key, map_index, store, since, purge)
        SELECT version, run, task, key, map_index, excom.reference(codec, body, 'store'), the_time, true
        FROM excom.entry
        WHERE id > after_id AND id <= last_id AND version < first_versions[rule] AND run = ANY (runs) AND codec = 2
        ON CONFLICT (version, run, task, key, map_index) DO UPDATE
            SET store = excluded.store, since = excluded.since, purge = true;
        INSERT INTO excom.expired (id, ended_at, run, by, versions)
        SELECT nextval('excom.history_id_seq'), the_time, run, texts[rule],
            array_agg(ROW (version, size, hash, shape, task, key, map_index, number, codec = 2, writer,
                           head)::excom.expired_version)
        FROM excom.entry
        WHERE id > after_id AND id <= last_id AND version < first_versions[rule] AND run = ANY (runs)
        GROUP BY run;
        WITH removed AS (
            DELETE FROM excom.entry
            WHERE id > after_id AND id <= last_id AND version < first_versions[rule] AND run = ANY (runs)
            RETURNING size)
        SELECT count(*) AS entries, coalesce(sum(size), 0)::int8 AS bytes INTO gone FROM removed;
        entries := entries + gone.entries;
        bytes := bytes + gone.bytes;
    END LOOP;
END $$;

-- With more room in a page than a fourteenth, rows stop coming before what changes of states left behind is cleared, and
-- nearly half of the table stays empty.
ALTER TABLE excom.task_instance SET (fillfactor = 93);
