-- What Airflow's tables have no place for, beside them. Nothing here hangs on an object of Airflow's: no foreign key, no
-- view, no trigger. Bodies of functions are text to the server, so Airflow's migrations never find them in their way.
-- Airflow's tables are named without their schema: the connection's search_path says where they are. No table here has
-- the name of one of Airflow's: to a user named `excom`, this schema comes first.
--
-- Times are milliseconds since 1970, UTC, but for `pushed`, which is compared with Airflow's own.

-- Schemas of Airflow that writes were proven with.
CREATE TABLE excom.airflow_schema (
    revision text PRIMARY KEY,          -- as in Airflow's alembic_version
    airflow  text NOT NULL
);

-- What Excom knows of a row of `xcom` that it wrote. It counts while that row has the time given here: whoever else
-- writes the row gives it another.
CREATE TABLE excom.extra (
    id         int8 GENERATED ALWAYS AS IDENTITY,
    version    int8 NOT NULL,
    size       int8 NOT NULL,
    hash       int8 NOT NULL,
    shape      int8 NOT NULL,
    pushed     timestamptz NOT NULL,
    dag_run_id int4 NOT NULL,
    map_index  int4 NOT NULL,
    number     int4 NOT NULL,           -- the try that wrote it, of the own task instance; 0 for other writers
    codec      int2 NOT NULL,           -- 4: the text is that of `xcom.value`, without spaces
    task_id    text NOT NULL,
    key        text NOT NULL,
    dag_id     text NOT NULL,
    run_id     text NOT NULL,
    writer     text NOT NULL,           -- another writer, as JSON
    head       text NOT NULL,           -- the beginning of the value's text; empty for a secret
    body       bytea NOT NULL,          -- the rest, where jsonb would change the text, or the reference
    PRIMARY KEY (dag_run_id, task_id, map_index, key)
);
CREATE INDEX extra_id ON excom.extra (id);
CREATE INDEX extra_object ON excom.extra (version) WHERE codec = 2;
ALTER TABLE excom.extra ALTER body SET STORAGE EXTERNAL;

-- Versions that ended. Without bytes, codec is -1. What something else wrote has no number.
CREATE TABLE excom.history (
    id         int8 GENERATED ALWAYS AS IDENTITY,
    version    int8 NOT NULL,
    size       int8,
    hash       int8,
    shape      int8,
    ended_at   int8 NOT NULL,
    dag_run_id int4 NOT NULL,
    map_index  int4 NOT NULL,
    number     int4,
    codec      int2 NOT NULL,
    reason     int2 NOT NULL,
    offloaded  bool NOT NULL,
    task_id    text NOT NULL,
    key        text NOT NULL,
    dag_id     text NOT NULL,
    run_id     text NOT NULL,
    writer     text NOT NULL,
    by         text NOT NULL,
    head       text,
    body       bytea NOT NULL,
    value      jsonb
);
ALTER TABLE excom.history ALTER body SET STORAGE EXTERNAL;
CREATE INDEX history_key ON excom.history (dag_run_id, task_id, map_index, key, version);
CREATE INDEX history_id ON excom.history (id) WHERE codec >= 0;
CREATE INDEX history_object ON excom.history (version) WHERE codec = 2;
CREATE INDEX history_bytes ON excom.history (ended_at) WHERE codec >= 0;
CREATE INDEX history_ended ON excom.history (ended_at) WHERE codec < 0;

-- Attempts whose start cleared what was there: it is done once.
CREATE TABLE excom.started (
    attempt uuid PRIMARY KEY,           -- the id of Airflow's task instance
    at      int8 NOT NULL
);

-- Who read what: one row for a reader and a version, or (map_index -2, version 0) a whole sequence.
CREATE TABLE excom.ledger (
    version       int8 NOT NULL,
    count         int8 NOT NULL,
    first         int8 NOT NULL,
    last          int8 NOT NULL,
    map_index     int4 NOT NULL,
    reader_map    int4 NOT NULL,
    reader_number int4 NOT NULL,        -- the reading try; 0: not a task
    dag_id        text NOT NULL,
    run_id        text NOT NULL,
    task_id       text NOT NULL,
    key           text NOT NULL,
    reader_dag    text NOT NULL,
    reader_run    text NOT NULL,
    reader_task   text NOT NULL,
    reader        text NOT NULL,        -- who else
    PRIMARY KEY (dag_id, run_id, task_id, map_index, key, version, reader_dag, reader_run, reader_task, reader_map,
                 reader_number, reader)
);
CREATE INDEX ledger_reader ON excom.ledger (reader_dag, reader_run, reader_task, reader_map);

-- What the fields of operators were rendered to, in the newest try of which it was kept.
CREATE TABLE excom.rendered (
    dag_run_id int4 NOT NULL,
    map_index  int4 NOT NULL,
    number     int4 NOT NULL,
    task_id    text NOT NULL,
    fields     text NOT NULL,           -- a JSON list of names and values
    PRIMARY KEY (dag_run_id, task_id, map_index)
);

-- Versions of DAGs as Excom's own programs know them, in the order seen.
CREATE TABLE excom.known_dag (
    id       int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seen     int8 NOT NULL,
    dag_id   text NOT NULL,
    version  text NOT NULL,
    document text NOT NULL,             -- JSON
    UNIQUE (dag_id, version)
);

-- Variables of Excom's own: Airflow's are encrypted with a key that is Airflow's.
CREATE TABLE excom.own_variable (
    updated     int8 NOT NULL,
    key         text COLLATE "C" PRIMARY KEY,
    text        bytea NOT NULL,
    description bytea
);

-- Objects without an entry: being written, or to be removed (purge), which one process at a time does (claimed).
CREATE TABLE excom.loose_object (
    version   int8 NOT NULL,
    since     int8 NOT NULL,
    map_index int4 NOT NULL,
    purge     bool NOT NULL,
    claimed   bool NOT NULL DEFAULT false,
    dag_id    text NOT NULL,
    run_id    text NOT NULL,
    task_id   text NOT NULL,
    key       text NOT NULL,
    store     text COLLATE "C" NOT NULL,
    PRIMARY KEY (version, dag_id, run_id, task_id, map_index, key)
);

-- Remembered settings, such as the fingerprint of the seal key.
CREATE TABLE excom.mark (
    name  text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

-- What tasks did that a rule stands against, while the rules were only observed.
CREATE TABLE excom.refusal (
    count  int8 NOT NULL,
    first  int8 NOT NULL,
    last   int8 NOT NULL,
    rule   text COLLATE "C" NOT NULL,
    dag    text COLLATE "C" NOT NULL,
    task   text COLLATE "C" NOT NULL,
    target text COLLATE "C" NOT NULL,
    PRIMARY KEY (rule, dag, task, target)
);

-- ---- what is there

-- The version of a row that something else wrote: its time, to the microsecond.
CREATE FUNCTION excom.version_of(at timestamptz) RETURNS int8 LANGUAGE sql IMMUTABLE AS $$
    SELECT (greatest((extract(epoch FROM at) * 1000000)::int8 / 1000 - 1577836800000, 0) << 22)
         | (((extract(epoch FROM at) * 1000000)::int8 % 1000) << 12)
$$;

-- The time of a row of ours, from microseconds.
CREATE FUNCTION excom.time_of(micros int8) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT timestamptz 'epoch' + micros * interval '1 microsecond'
$$;

-- A moment in milliseconds.
CREATE FUNCTION excom.millis(at timestamptz) RETURNS int8 LANGUAGE sql IMMUTABLE AS $$
    SELECT floor(extract(epoch FROM at) * 1000)::int8
$$;

-- A field of a reference; none when the bytes are in the database.
CREATE FUNCTION excom.reference(the_codec int2, the_body bytea, the_field text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN the_codec = 2 THEN convert_from(the_body, 'UTF8')::json ->> the_field END
$$;

-- Whether a value of Airflow's row is the reference of a version still: saved again as it was, say in Airflow's pages.
CREATE FUNCTION excom.is_reference(the_value jsonb, the_version int8, the_codec int2, the_body bytea) RETURNS bool
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN the_codec = 2 THEN the_value @> jsonb_build_object(
        '$excom', 'reference-1', 'version', lpad(to_hex(the_version), 16, '0'),
        'mac', excom.reference(the_codec, the_body, 'mac')) ELSE false END
$$;

-- Airflow's rows with what is known of them; without a number where something else wrote them. The server puts
-- this body where the function is called, so conditions reach the indexes of `xcom`.
CREATE FUNCTION excom.entry() RETURNS TABLE (
    dag_run_id int4, dag_id text, run_id text, task_id text, map_index int4, key text, value jsonb, id int8,
    version int8, number int4, writer text, size int8, hash int8, shape int8, head text, codec int2, body bytea
) LANGUAGE sql STABLE AS $$
    SELECT x.dag_run_id, x.dag_id::text, x.run_id::text, x.task_id::text, x.map_index, x.key::text, x.value, m.id,
           coalesce(m.version, excom.version_of(x.timestamp)), m.number, coalesce(m.writer, ''), m.size, m.hash, m.shape,
           m.head, coalesce(m.codec, 4::int2), coalesce(m.body, '')
    FROM xcom x LEFT JOIN excom.extra m
         ON m.dag_run_id = x.dag_run_id AND m.task_id = x.task_id AND m.map_index = x.map_index AND m.key = x.key
         AND (m.pushed = x.timestamp OR excom.is_reference(x.value, m.version, m.codec, m.body))
$$;

-- The tries of task instances that have started. A task instance gets its next id as soon as a try has failed, but that
-- one starts with a date of its own.
CREATE FUNCTION excom.attempt() RETURNS TABLE (
    dag_id text, run_id text, task_id text, map_index int4, number int4, attempt uuid, state text,
    started timestamptz, ended timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT i.dag_id::text, i.run_id::text, i.task_id::text, i.map_index, coalesce(i.try_number, 0), i.id,
           i.state::text, i.start_date,
           CASE WHEN i.state IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed', 'up_for_retry')
                THEN i.end_date END
    FROM task_instance i
    WHERE i.start_date IS NOT NULL AND NOT EXISTS (
        SELECT FROM task_instance_history h
        WHERE h.dag_id = i.dag_id AND h.task_id = i.task_id AND h.run_id = i.run_id AND h.map_index = i.map_index
        AND h.start_date = i.start_date)
    UNION ALL
    SELECT h.dag_id::text, h.run_id::text, h.task_id::text, h.map_index, coalesce(h.try_number, 0), h.task_instance_id,
           h.state::text, h.start_date, h.end_date
    FROM task_instance_history h WHERE h.start_date IS NOT NULL
$$;

-- ---- the steps that check and write. Each is called in a statement of its own, so it is one round trip, a transaction,
-- and never half done. Their locks, in this order, last until its end:
--   Airflow's row of a task instance  its key, by whatever writes as its attempt: a next try waits, a heartbeat does not
--   a task instance                   shared by what writes in it, alone by a start, a clear and a delete
--   an XCom                           alone by what changes it
-- The last two are of Excom's processes. Airflow's own writes wait for the rows themselves.
--
-- Refusals are errors, which undo everything: XC001 superseded, XC002 not started, XC003 no intent, XC004 version taken,
-- XC005 being removed, XC006 key retired, XC007 Airflow has no such run, XC008 Airflow's schema is unknown.

-- The lock of a task instance, or of its XCom under a key.
CREATE FUNCTION excom.lock_of(the_dag text, the_run_id text, the_task text, the_map int4, the_key text) RETURNS int8
LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended(
        jsonb_build_array(the_dag, the_run_id, the_task, the_map, the_key)::text COLLATE "C", 0)
$$;

-- A run's number, if Airflow knows it.
CREATE FUNCTION excom.known_run(the_dag text, the_run_id text) RETURNS int4 LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT id FROM dag_run WHERE dag_id = the_dag AND run_id = the_run_id);
END $$;

-- The fence: the try number of a caller's attempt while it may write, which lasts until the transaction ends; 0 for a
-- caller that is no attempt. A try that has failed may write until the next one starts.
CREATE FUNCTION excom.fence(
    the_dag text, the_run_id text, the_task text, the_map int4, the_attempt uuid
) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE
    current int4;
    past record;
BEGIN
    IF NOT EXISTS (SELECT FROM alembic_version a JOIN excom.airflow_schema s ON s.revision = a.version_num) THEN
        RAISE EXCEPTION 'Airflow''s schema is unknown'
            USING ERRCODE = 'XC008', DETAIL = coalesce((SELECT max(version_num) FROM alembic_version), '');
    END IF;
    IF the_attempt IS NULL THEN
        RETURN 0;
    END IF;
    SELECT coalesce(try_number, 0) INTO current FROM task_instance
    WHERE id = the_attempt AND dag_id = the_dag AND run_id = the_run_id AND task_id = the_task AND map_index = the_map
    FOR KEY SHARE;
    IF FOUND THEN
        RETURN current;
    END IF;
    SELECT try_number, start_date INTO past FROM task_instance_history
    WHERE task_instance_id = the_attempt AND dag_id = the_dag AND run_id = the_run_id AND task_id = the_task
    AND map_index = the_map;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the attempt has not started' USING ERRCODE = 'XC002';
    END IF;
    PERFORM FROM task_instance
    WHERE dag_id = the_dag AND run_id = the_run_id AND task_id = the_task AND map_index = the_map
    AND (start_date IS NULL OR start_date = past.start_date)
    AND NOT EXISTS (
        SELECT FROM task_instance_history
        WHERE dag_id = the_dag AND run_id = the_run_id AND task_id = the_task AND map_index = the_map
        AND try_number > past.try_number)
    FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the attempt was superseded' USING ERRCODE = 'XC001';
    END IF;
    RETURN past.try_number;
END $$;

-- The lock of marks: alone by what sets one, shared by what depends on there being none.
CREATE FUNCTION excom.marks_lock() RETURNS int8 LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended('excom.mark', 0)
$$;

-- Whether nothing more is to be sealed with a key.
CREATE FUNCTION excom.is_retired(key_id text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (SELECT FROM excom.mark WHERE name = 'retired_key/' || key_id);
END $$;

-- Copies an entry to the history; false when there is none.
CREATE FUNCTION excom.remember(
    the_run int4, the_task text, the_map int4, the_key text, the_reason int2, the_cause text, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO excom.history (version, size, hash, shape, ended_at, dag_run_id, map_index, number, codec, reason,
                               offloaded, task_id, key, dag_id, run_id, writer, by, head, body, value)
    SELECT version, size, hash, shape, the_time, dag_run_id, map_index, number, codec, the_reason, codec = 2, task_id,
           key, dag_id, run_id, writer, the_cause, head, body,
           CASE WHEN codec = 4 THEN coalesce(value, 'null') END
    FROM excom.entry()
    WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key;
    RETURN FOUND;
END $$;

-- Moves an entry to the history; false when there is none.
CREATE FUNCTION excom.end_entry(
    the_run int4, the_task text, the_map int4, the_key text, the_reason int2, the_cause text, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    IF NOT excom.remember(the_run, the_task, the_map, the_key, the_reason, the_cause, the_time) THEN
        RETURN false;
    END IF;
    DELETE FROM xcom WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key;
    DELETE FROM excom.extra WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key;
    RETURN true;
END $$;

-- Makes a version the entry; false when it was pushed before, and then nothing changes. The writer is none for the
-- task instance's own attempt, whose number is given. What Airflow reads is an upsert: no reader ever finds the row gone,
-- and pushes that meet wait for each other instead of failing.
CREATE FUNCTION excom.put(
    the_number int4, the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8,
    the_writer text, the_size int8, the_hash int8, the_shape int8, the_value text, the_head text, the_codec int2,
    the_body bytea, key_id text, the_cause text, the_pushed int8, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
    current int8;
BEGIN
    IF the_run IS NULL THEN
        RAISE EXCEPTION 'Airflow has no such run' USING ERRCODE = 'XC007', DETAIL = the_version;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL)),
            pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, the_key));
    SELECT version INTO current FROM excom.entry()
    WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key;
    IF current = the_version OR EXISTS (
        SELECT FROM excom.history
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key
        AND version = the_version)
    THEN
        RETURN false;
    END IF;
    IF key_id IS NOT NULL THEN
        -- Whoever retires a key waits for this, and looks for what it encrypts then.
        PERFORM pg_advisory_xact_lock_shared(excom.marks_lock());
        IF excom.is_retired(key_id) THEN
            RAISE EXCEPTION 'the key is retired' USING ERRCODE = 'XC006', DETAIL = the_version;
        END IF;
    END IF;
    IF the_codec = 2 THEN
        DELETE FROM excom.loose_object
        WHERE version = the_version AND dag_id = the_dag AND run_id = the_run_id AND task_id = the_task
        AND map_index = the_map AND key = the_key AND NOT purge;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the push has no intent' USING ERRCODE = 'XC003', DETAIL = the_version;
        END IF;
    END IF;
    IF current IS NOT NULL THEN
        PERFORM excom.remember(the_run, the_task, the_map, the_key, 0::int2, the_cause, the_time);
    END IF;
    INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)
    VALUES (the_run, the_task, the_map, the_key, the_dag, the_run_id, the_value::jsonb, excom.time_of(the_pushed))
    ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE
        SET value = excluded.value, timestamp = excluded.timestamp;
    INSERT INTO excom.extra AS m (version, size, hash, shape, pushed, dag_run_id, map_index, number, codec, task_id, key,
                                  dag_id, run_id, writer, head, body)
    VALUES (the_version, the_size, the_hash, the_shape, excom.time_of(the_pushed), the_run, the_map,
            CASE WHEN the_writer IS NULL THEN the_number ELSE 0 END, the_codec, the_task, the_key, the_dag, the_run_id,
            coalesce(the_writer, ''), the_head, the_body)
    ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE SET id = DEFAULT, version = excluded.version,
        size = excluded.size, hash = excluded.hash, shape = excluded.shape, pushed = excluded.pushed,
        number = excluded.number, codec = excluded.codec, writer = excluded.writer, head = excluded.head,
        body = excluded.body;
    RETURN true;
END $$;

-- The last pushes of an attempt, all or none.
CREATE FUNCTION excom.finish(
    the_dag text, the_run_id text, the_task text, the_map int4, the_attempt uuid, the_time int8, dags text[],
    run_ids text[], tasks text[], maps int4[], keys text[], versions int8[], writers text[], sizes int8[],
    hashes int8[], shapes int8[], the_values text[], heads text[], codecs int2[], bodies bytea[], key_ids text[],
    pushed int8[], the_cause text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    the_number int4 := excom.fence(the_dag, the_run_id, the_task, the_map, the_attempt);
    push record;
BEGIN
    FOR push IN
        SELECT * FROM unnest(dags, run_ids, tasks, maps, keys, versions, writers, sizes, hashes, shapes, the_values,
                             heads, codecs, bodies, key_ids, pushed) WITH ORDINALITY
            AS p (dag, run_id, task, map_index, key, version, writer, size, hash, shape, value, head, codec, body,
                  key_id, pushed, place)
        ORDER BY place
    LOOP
        IF NOT excom.put(the_number, push.dag, push.run_id, push.task, push.map_index, push.key, push.version,
                         push.writer, push.size, push.hash, push.shape, push.value, push.head, push.codec, push.body,
                         push.key_id, the_cause, push.pushed, the_time)
        THEN
            RAISE EXCEPTION 'the version was pushed before' USING ERRCODE = 'XC004', DETAIL = push.version;
        END IF;
    END LOOP;
END $$;

-- Moves the entries of a task instance to the history, and returns how many.
CREATE FUNCTION excom.clear_instance(
    the_dag text, the_run_id text, the_task text, the_map int4, the_cause text, the_time int8
) RETURNS int8 LANGUAGE sql AS $$
    SELECT count(*) FILTER (WHERE excom.end_entry(dag_run_id, the_task, the_map, key, 1::int2, the_cause, the_time))
    FROM (SELECT dag_run_id, key FROM xcom
          WHERE dag_id = the_dag AND run_id = the_run_id AND task_id = the_task AND map_index = the_map
          ORDER BY key) x
$$;

-- The start of an attempt, which Airflow has started: the first time, when it is fresh, it clears.
CREATE FUNCTION excom.start_attempt(
    the_dag text, the_run_id text, the_task text, the_map int4, the_attempt uuid, is_fresh bool, the_cause text,
    the_time int8, OUT the_number int4, OUT cleared int8
) LANGUAGE plpgsql AS $$
BEGIN
    cleared := 0;
    the_number := excom.fence(the_dag, the_run_id, the_task, the_map, the_attempt);
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL));
    INSERT INTO excom.started (attempt, at) VALUES (the_attempt, the_time) ON CONFLICT DO NOTHING;
    IF FOUND AND is_fresh THEN
        cleared := excom.clear_instance(the_dag, the_run_id, the_task, the_map, the_cause, the_time);
    END IF;
END $$;

-- Clears an XCom, or all of a task instance when there is no key; a caller that is an attempt is fenced.
CREATE FUNCTION excom.clear(
    own_dag text, own_run_id text, own_task text, own_map int4, own_attempt uuid,
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_cause text, the_time int8
) RETURNS int8 LANGUAGE plpgsql AS $$
BEGIN
    PERFORM excom.fence(own_dag, own_run_id, own_task, own_map, own_attempt);
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL));
    IF the_key IS NULL THEN
        RETURN excom.clear_instance(the_dag, the_run_id, the_task, the_map, the_cause, the_time);
    END IF;
    RETURN excom.end_entry(excom.known_run(the_dag, the_run_id), the_task, the_map, the_key, 1::int2, the_cause,
                           the_time)::int4;
END $$;

-- Removes an XCom, or all of a task instance, with its history and reads.
CREATE FUNCTION excom.delete(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_time int8
) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
    gone int8;
BEGIN
    PERFORM excom.fence(NULL, NULL, NULL, NULL, NULL);
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL));
    WITH current AS (
        DELETE FROM xcom
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = coalesce(the_key, key)
        RETURNING 1),
    extras AS (
        DELETE FROM excom.extra
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = coalesce(the_key, key)
        RETURNING version, dag_id, run_id, task_id, map_index, key, codec, body),
    past AS (
        DELETE FROM excom.history
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = coalesce(the_key, key)
        RETURNING version, dag_id, run_id, task_id, map_index, key, codec, body),
    loose AS (
        INSERT INTO excom.loose_object (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
        SELECT version, dag_id, run_id, task_id, map_index, key, excom.reference(codec, body, 'store'), the_time, true
        FROM (SELECT * FROM extras UNION ALL SELECT * FROM past) versions WHERE codec = 2
        ON CONFLICT (version, dag_id, run_id, task_id, map_index, key) DO UPDATE
            SET store = excluded.store, since = excluded.since, purge = true)
    SELECT (SELECT count(*) FROM current) + (SELECT count(*) FROM past) INTO gone;
    DELETE FROM excom.ledger
    WHERE dag_id = the_dag AND run_id = the_run_id AND task_id = the_task AND map_index = the_map
    AND key = coalesce(the_key, key);
    IF the_key IS NULL THEN
        DELETE FROM excom.rendered WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map;
    END IF;
    RETURN gone;
END $$;

-- Notes that an object is about to be written; false when its version was pushed before.
CREATE FUNCTION excom.note_intent(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8, the_store text,
    the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
BEGIN
    PERFORM pg_advisory_xact_lock_shared(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL)),
            pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, the_key));
    IF EXISTS (
        SELECT FROM excom.entry()
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key
        AND version = the_version
        UNION ALL
        SELECT FROM excom.history
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key
        AND version = the_version)
    THEN
        RETURN false;
    END IF;
    -- An object that is being removed must not become an intent again: whoever removes it goes on.
    INSERT INTO excom.loose_object AS l (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
    VALUES (the_version, the_dag, the_run_id, the_task, the_map, the_key, the_store, the_time, false)
    ON CONFLICT (version, dag_id, run_id, task_id, map_index, key) DO UPDATE SET since = excluded.since
        WHERE NOT l.purge;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the object is being removed' USING ERRCODE = 'XC005';
    END IF;
    RETURN true;
END $$;

-- ---- where bytes are

-- Whether a row is where it was found: in the database (no store), or in a store by a reference with that MAC.
CREATE FUNCTION excom.is_at(the_codec int2, the_body bytea, the_store text, the_mac text) RETURNS bool
LANGUAGE sql IMMUTABLE AS $$
    SELECT the_codec >= 0 AND excom.reference(the_codec, the_body, 'store') IS NOT DISTINCT FROM the_store
        AND excom.reference(the_codec, the_body, 'mac') IS NOT DISTINCT FROM the_mac
$$;

-- Notes that a version's bytes are about to be written elsewhere, while they are where they were found.
CREATE FUNCTION excom.note_move(
    is_past bool, the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8,
    from_store text, from_mac text, the_store text, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
BEGIN
    PERFORM pg_advisory_xact_lock_shared(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL));
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, the_key));
    INSERT INTO excom.loose_object (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
    SELECT the_version, the_dag, the_run_id, the_task, the_map, the_key, the_store, the_time, false
    FROM (SELECT codec, body FROM excom.entry()
          WHERE NOT is_past AND dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key
          AND version = the_version AND number IS NOT NULL
          UNION ALL
          SELECT codec, body FROM excom.history
          WHERE is_past AND dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key
          AND version = the_version AND number IS NOT NULL) found
    WHERE excom.is_at(codec, body, from_store, from_mac)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- Puts a version's bytes where they were moved to, while they are where they were found and, in another store, their
-- intent is there. What stays in its store is only sealed anew, with no key that is retired. The head is none for a value
-- that is in a store. Airflow's row keeps its time: it is the same version.
CREATE FUNCTION excom.move_stored(
    is_past bool, the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8,
    from_store text, from_mac text, the_store text, the_value text, the_head text, the_codec int2, the_body bytea,
    the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
    stays bool := coalesce(the_store = from_store, false);
    loose record;
    moved int4;
BEGIN
    IF excom.is_retired(excom.reference(the_codec, the_body, 'key_id')) THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL));
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, the_key));
    SELECT store, purge INTO loose FROM excom.loose_object
    WHERE version = the_version AND dag_id = the_dag AND run_id = the_run_id AND task_id = the_task
    AND map_index = the_map AND key = the_key FOR UPDATE;
    -- Something of it that is being written or removed has the only row that there is for it.
    IF (CASE WHEN stays THEN false
             WHEN the_store IS NULL THEN FOUND
             ELSE NOT FOUND OR loose.purge OR loose.store <> the_store END)
    THEN
        RETURN false;
    END IF;
    IF is_past THEN
        UPDATE excom.history SET head = coalesce(the_head, head), codec = the_codec, body = the_body,
            offloaded = the_codec = 2, value = CASE WHEN the_codec = 4 THEN the_value::jsonb END
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key
        AND version = the_version AND number IS NOT NULL AND excom.is_at(codec, body, from_store, from_mac);
    ELSE
        WITH found AS (
            UPDATE xcom x SET value = the_value::jsonb FROM excom.extra m
            WHERE x.dag_run_id = the_run AND x.task_id = the_task AND x.map_index = the_map AND x.key = the_key
            AND m.dag_run_id = the_run AND m.task_id = the_task AND m.map_index = the_map AND m.key = the_key
            AND m.pushed = x.timestamp AND m.version = the_version AND excom.is_at(m.codec, m.body, from_store, from_mac)
            RETURNING 1)
        UPDATE excom.extra SET head = coalesce(the_head, head), codec = the_codec, body = the_body
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key
        AND EXISTS (SELECT FROM found);
    END IF;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved = 0 OR stays THEN
        RETURN moved > 0;
    END IF;
    DELETE FROM excom.loose_object
    WHERE version = the_version AND dag_id = the_dag AND run_id = the_run_id AND task_id = the_task
    AND map_index = the_map AND key = the_key;
    IF from_store IS NOT NULL THEN
        INSERT INTO excom.loose_object (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
        VALUES (the_version, the_dag, the_run_id, the_task, the_map, the_key, from_store, the_time, true);
    END IF;
    RETURN true;
END $$;

-- Takes over an orphan for removal; false when it is known after all.
CREATE FUNCTION excom.claim_orphan(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8, the_store text,
    the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
BEGIN
    PERFORM pg_advisory_xact_lock_shared(excom.lock_of(the_dag, the_run_id, the_task, the_map, NULL));
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_dag, the_run_id, the_task, the_map, the_key));
    INSERT INTO excom.loose_object (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
    SELECT the_version, the_dag, the_run_id, the_task, the_map, the_key, the_store, the_time, true
    WHERE NOT EXISTS (
        SELECT FROM (SELECT dag_run_id, task_id, map_index, key, version, codec, body FROM excom.extra
                     UNION ALL
                     SELECT dag_run_id, task_id, map_index, key, version, codec, body FROM excom.history) known
        WHERE dag_run_id = the_run AND task_id = the_task AND map_index = the_map AND key = the_key
        AND version = the_version AND excom.reference(codec, body, 'store') = the_store)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- ---- retention, of what Excom wrote: the rest is `airflow db clean`'s

-- The first rule that catches each of some entries, by their ids. Kinds of rules: 0 pushed before, 1 behind so many newer
-- runs, 2 not read since, 3 of runs that were done before.
CREATE FUNCTION excom.caught(kinds int2[], bounds int8[], ids int8[]) RETURNS TABLE (id int8, rule int8)
LANGUAGE sql STABLE AS $$
    WITH asked AS MATERIALIZED (
        SELECT e.*, (e.version >> 22) + 1577836800000 AS pushed_at FROM excom.entry() e WHERE e.id = ANY (ids)),
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
    SELECT a.id, min(k.place)
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
    GROUP BY a.id
$$;

-- Makes entries expired that the same rules still catch. What other rules catch goes first, because it does not count
-- among the newest that are kept. A push meanwhile gives its entry another id, so it stays.
CREATE FUNCTION excom.expire(
    kinds int2[], bounds int8[], texts text[], dags text[], run_ids text[], tasks text[], maps int4[], keys text[],
    versions int8[], the_time int8, OUT entries int8, OUT bytes int8
) LANGUAGE plpgsql AS $$
DECLARE
    ids int8[];
    first_kinds int2[] := ARRAY(SELECT kind FROM unnest(kinds) WITH ORDINALITY AS k (kind, place)
                                WHERE kind <> 1 ORDER BY place);
    first_bounds int8[] := ARRAY(SELECT bound FROM unnest(kinds, bounds) WITH ORDINALITY AS k (kind, bound, place)
                                 WHERE kind <> 1 ORDER BY place);
    is_last bool;
    removed record;
BEGIN
    entries := 0;
    bytes := 0;
    PERFORM excom.fence(NULL, NULL, NULL, NULL, NULL);
    ids := ARRAY(
        SELECT e.id FROM unnest(dags, run_ids, tasks, maps, keys, versions) AS a (dag, run_id, task, map_index, key, version)
        JOIN excom.entry() e ON e.dag_id = a.dag AND e.run_id = a.run_id AND e.task_id = a.task
            AND e.map_index = a.map_index AND e.key = a.key AND e.version = a.version
        WHERE e.id IS NOT NULL);
    FOREACH is_last IN ARRAY CASE WHEN 1 = ANY (kinds) THEN '{f,t}'::bool[] ELSE '{t}' END LOOP
        WITH due AS MATERIALIZED (
            SELECT c.id, texts[c.rule] AS cause FROM excom.caught(kinds, bounds, ids) c
            WHERE is_last OR c.id IN (SELECT f.id FROM excom.caught(first_kinds, first_bounds, ids) f)),
        gone AS (DELETE FROM excom.extra m USING due WHERE m.id = due.id RETURNING m.*, due.cause),
        rows AS (
            DELETE FROM xcom x USING gone
            WHERE x.dag_run_id = gone.dag_run_id AND x.task_id = gone.task_id AND x.map_index = gone.map_index
            AND x.key = gone.key AND (x.timestamp = gone.pushed OR gone.codec = 2)),
        loose AS (
            INSERT INTO excom.loose_object (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
            SELECT version, dag_id, run_id, task_id, map_index, key, excom.reference(codec, body, 'store'), the_time, true
            FROM gone WHERE codec = 2
            ON CONFLICT (version, dag_id, run_id, task_id, map_index, key) DO UPDATE
                SET store = excluded.store, since = excluded.since, purge = true),
        past AS (
            INSERT INTO excom.history (version, size, hash, shape, ended_at, dag_run_id, map_index, number, codec, reason,
                                       offloaded, task_id, key, dag_id, run_id, writer, by, head, body)
            SELECT version, size, hash, shape, the_time, dag_run_id, map_index, number, -1, 2, codec = 2, task_id, key,
                   dag_id, run_id, writer, cause, head, ''
            FROM gone)
        SELECT count(*) AS entries, coalesce(sum(size), 0)::int8 AS bytes INTO removed FROM gone;
        entries := entries + removed.entries;
        bytes := bytes + removed.bytes;
    END LOOP;
END $$;

-- What Airflow, or a person, removed or wrote over is noticed here: its objects are to go, and what is known of runs that
-- are gone is forgotten. A row that holds a reference still, saved again as it was, keeps what it refers to. What a push
-- changes meanwhile has another id, and stays.
CREATE FUNCTION excom.forget_removed(the_time int8) RETURNS int8 LANGUAGE plpgsql AS $$
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
    DELETE FROM excom.rendered e WHERE NOT EXISTS (SELECT FROM dag_run r WHERE r.id = e.dag_run_id);
    DELETE FROM excom.ledger l
    WHERE NOT EXISTS (SELECT FROM dag_run r WHERE r.dag_id = l.dag_id AND r.run_id = l.run_id);
    DELETE FROM excom.started s WHERE NOT EXISTS (SELECT FROM task_instance i WHERE i.id = s.attempt);
    RETURN forgotten;
END $$;
