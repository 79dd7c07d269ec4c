-- The steps that check and write. Each is called in a statement of its own, so it is one round trip, a transaction,
-- and never half done, whatever lies between client and server.
--
-- Every statement of a function sees what is committed when it begins, so a check counts once its lock is held:
--   a run            shared by all that write in it, alone by what removes it or lets its entries expire
--   a task instance  shared by what writes in it, alone by a start, a clear and a delete
--   an XCom          alone by what changes it
-- They are taken in that order and last until the end of the transaction.
--
-- Refusals are errors, which undo everything: XC001 superseded, XC002 not started, XC003 no intent,
-- XC004 version taken, XC005 being removed, XC006 key retired. What concerns one of several pushes tells its version as detail.
--
-- Processes of another release may be calling: a function whose parameters change becomes another function.

-- A name's number; it becomes known.
CREATE FUNCTION excom.number_of(the_text text) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE found int4;
BEGIN
    SELECT id INTO found FROM excom.name WHERE text = the_text;
    IF found IS NULL THEN
        INSERT INTO excom.name (text) VALUES (the_text) ON CONFLICT DO NOTHING RETURNING id INTO found;
    END IF;
    IF found IS NULL THEN
        SELECT id INTO found FROM excom.name WHERE text = the_text;
    END IF;
    RETURN found;
END $$;

CREATE FUNCTION excom.run_lock(the_dag text, the_run_id text) RETURNS int8 LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended(the_run_id COLLATE "C", hashtext(the_dag COLLATE "C"))
$$;

-- The lock of a task instance, or of its XCom under a key.
CREATE FUNCTION excom.lock_of(the_run int4, the_task int4, the_map int4, the_key int4) RETURNS int8
LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended(the_run::text || '/' || the_task::text || '/' || the_map::text COLLATE "C", the_key)
$$;

-- Takes the locks of what changes an XCom.
CREATE FUNCTION excom.lock_xcom(the_run int4, the_task int4, the_map int4, the_key int4) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(excom.lock_of(the_run, the_task, the_map, 0)),
            pg_advisory_xact_lock(excom.lock_of(the_run, the_task, the_map, the_key));
END $$;

-- A run's number, if it is known. It is not removed before the transaction ends.
CREATE FUNCTION excom.known_run(the_dag text, the_run_id text) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE found int4;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(excom.run_lock(the_dag, the_run_id));
    SELECT r.id INTO found FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id
    WHERE d.text = the_dag AND r.run_id = the_run_id;
    RETURN found;
END $$;

-- The same; the run becomes known, due at the time given, when it is not.
CREATE FUNCTION excom.run_of(the_dag text, the_run_id text, the_time int8) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE found int4 := excom.known_run(the_dag, the_run_id);
BEGIN
    IF found IS NULL THEN
        INSERT INTO excom.dag_run (dag, run_id, run_after)
        VALUES (excom.number_of(the_dag), the_run_id, the_time)
        ON CONFLICT DO NOTHING RETURNING id INTO found;
    END IF;
    RETURN coalesce(found, excom.known_run(the_dag, the_run_id));
END $$;

-- A run's dates and state. What is not given stays.
CREATE FUNCTION excom.register_run(
    the_dag text, the_run_id text, the_logical_date int8, the_run_after int8, the_conf text, the_version text
) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE found int4 := excom.run_of(the_dag, the_run_id, the_run_after);
BEGIN
    UPDATE excom.dag_run SET logical_date = the_logical_date, run_after = the_run_after,
        conf = coalesce(the_conf, conf), dag_version = coalesce(the_version, dag_version)
    WHERE id = found;
    RETURN found;
END $$;

CREATE FUNCTION excom.set_run_state(the_run int4, the_state int2, is_finished bool, the_time int8) RETURNS void
LANGUAGE sql AS $$
    UPDATE excom.dag_run SET state = the_state, started = coalesce(started, the_time),
        ended = CASE WHEN is_finished THEN the_time END
    WHERE id = the_run
$$;

-- The fence: the number of a caller's attempt while it is the current one, which it stays until the transaction
-- ends; 0 for a caller that is no attempt.
CREATE FUNCTION excom.fence(
    the_dag text, the_run_id text, the_task text, the_map int4, the_attempt uuid
) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE
    the_run int4;
    task_number int4;
    current record;
BEGIN
    IF the_attempt IS NULL THEN
        RETURN 0;
    END IF;
    the_run := excom.known_run(the_dag, the_run_id);
    SELECT id INTO task_number FROM excom.name WHERE text = the_task;
    IF the_run IS NOT NULL AND task_number IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock_shared(excom.lock_of(the_run, task_number, the_map, 0));
        SELECT number, attempt INTO current FROM excom.task_instance
        WHERE run = the_run AND task = task_number AND map_index = the_map;
        IF current.attempt = the_attempt THEN
            RETURN current.number;
        END IF;
        PERFORM FROM excom.attempt
        WHERE run = the_run AND task = task_number AND map_index = the_map AND attempt = the_attempt;
        IF FOUND THEN
            RAISE EXCEPTION 'the attempt was superseded' USING ERRCODE = 'XC001';
        END IF;
    END IF;
    RAISE EXCEPTION 'the attempt has not started' USING ERRCODE = 'XC002';
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

-- Moves an entry to the history; false when there is none.
CREATE FUNCTION excom.end_entry(
    the_run int4, the_task int4, the_key int4, the_map int4, the_reason int2, the_cause text, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    WITH gone AS (
        DELETE FROM excom.entry
        WHERE run = the_run AND task = the_task AND key = the_key AND map_index = the_map RETURNING *)
    INSERT INTO excom.history (version, size, hash, shape, ended_at, run, task, key, map_index, number, codec,
                               reason, offloaded, writer, by, head, body)
    SELECT version, size, hash, shape, the_time, run, task, key, map_index, number, codec,
           the_reason, codec = 2, writer, the_cause, head, body
    FROM gone;
    RETURN FOUND;
END $$;

-- Makes a version the entry; false when it was pushed before, and then nothing changes. The writer is none for the
-- task instance's own attempt, whose number is given. The key is what encrypts a secret, whose bytes are here. Each
-- statement costs, so it asks together what it can.
CREATE FUNCTION excom.put(
    the_number int4, the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8,
    the_writer text, the_size int8, the_hash int8, the_shape int8, the_head text, the_codec int2, the_body bytea,
    key_id text, the_cause text, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4;
    task_number int4;
    key_number int4;
    current int8;
    is_past bool;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(excom.run_lock(the_dag, the_run_id));
    SELECT (SELECT r.id FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id
            WHERE d.text = the_dag AND r.run_id = the_run_id),
           (SELECT id FROM excom.name WHERE text = the_task), (SELECT id FROM excom.name WHERE text = the_key)
    INTO the_run, task_number, key_number;
    IF the_run IS NULL OR task_number IS NULL OR key_number IS NULL THEN
        the_run := excom.run_of(the_dag, the_run_id, the_time);
        task_number := excom.number_of(the_task);
        key_number := excom.number_of(the_key);
    END IF;
    PERFORM excom.lock_xcom(the_run, task_number, the_map, key_number);
    SELECT (SELECT version FROM excom.entry
            WHERE run = the_run AND task = task_number AND key = key_number AND map_index = the_map),
           EXISTS (SELECT FROM excom.history
                   WHERE run = the_run AND task = task_number AND key = key_number AND map_index = the_map
                   AND version = the_version)
    INTO current, is_past;
    IF current = the_version OR is_past THEN
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
        WHERE version = the_version AND run = the_run AND task = task_number AND key = key_number
        AND map_index = the_map AND NOT purge;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the push has no intent' USING ERRCODE = 'XC003', DETAIL = the_version;
        END IF;
    END IF;
    IF current IS NOT NULL THEN
        PERFORM excom.end_entry(the_run, task_number, key_number, the_map, 0::int2, the_cause, the_time);
    END IF;
    INSERT INTO excom.entry (version, size, hash, shape, run, task, key, map_index, number, codec, writer, head, body)
    VALUES (the_version, the_size, the_hash, the_shape, the_run, task_number, key_number, the_map,
            CASE WHEN the_writer IS NULL THEN the_number ELSE 0 END, the_codec, coalesce(the_writer, ''),
            the_head, the_body);
    RETURN true;
END $$;

-- Many pushes at once, as far as nothing is in their way: names and runs are known, no lock is held by others, the
-- attempt (none for callers that are none) is the task instance's current one. Their bytes are here, and none is a secret's.
-- It waits for no lock, so none of them holds up the others. What it does not return was not done: it is to be pushed
-- by itself, and waits or is refused there. Rows of tables that grow fast are asked for one by one, because a join
-- would be planned for how few there were once. Few pushes would seem worth a plan of their own, which costs more than they.
CREATE FUNCTION excom.put_free(
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
    olds int8[];
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
    SELECT array_agg(f.place), array_agg(f.run), array_agg(f.task), array_agg(f.key), array_agg(f.number),
        array_agg(f.old), array_agg(f.old IS DISTINCT FROM versions[f.place] AND NOT f.is_past)
    INTO places, runs, task_numbers, key_numbers, numbers, olds, are_new
    FROM (
        SELECT a.*,
            CASE WHEN attempts[a.place] IS NULL THEN 0 ELSE (
                SELECT i.number FROM excom.task_instance i
                WHERE i.run = a.run AND i.task = a.task AND i.map_index = maps[a.place]
                AND i.attempt = attempts[a.place]) END AS number,
            (SELECT e.version FROM excom.entry e
             WHERE e.run = a.run AND e.task = a.task AND e.key = a.key AND e.map_index = maps[a.place]) AS old,
            EXISTS (SELECT FROM excom.history h
                    WHERE h.run = a.run AND h.task = a.task AND h.key = a.key AND h.map_index = maps[a.place]
                    AND h.version = versions[a.place]) AS is_past
        FROM unnest(places, runs, task_numbers, key_numbers) AS a (place, run, task, key)) f
    WHERE f.number IS NOT NULL;
    PERFORM excom.end_entry(a.run, a.task, a.key, maps[a.place], 0::int2, causes[a.place], times[a.place])
    FROM unnest(places, runs, task_numbers, key_numbers, olds, are_new) AS a (place, run, task, key, old, is_new)
    WHERE a.is_new AND a.old IS NOT NULL;
    INSERT INTO excom.entry (version, size, hash, shape, run, task, key, map_index, number, codec, writer, head, body)
    SELECT versions[a.place], sizes[a.place], hashes[a.place], shapes[a.place], a.run, a.task, a.key, maps[a.place],
        a.number, codecs[a.place], coalesce(writers[a.place], ''), heads[a.place], bodies[a.place]
    FROM unnest(places, runs, task_numbers, key_numbers, numbers, are_new)
             AS a (place, run, task, key, number, is_new)
    WHERE a.is_new;
    RETURN QUERY SELECT * FROM unnest(places, are_new);
END $$;

-- The state of a task instance and of its current attempt.
CREATE FUNCTION excom.set_state(
    the_dag text, the_run_id text, the_task text, the_map int4, the_state int2, has_ended bool, the_time int8
) RETURNS void LANGUAGE sql AS $$
    UPDATE excom.task_instance
    SET state = the_state, took = CASE WHEN has_ended THEN greatest(the_time - started, 0) END
    WHERE run = (SELECT r.id FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id
                 WHERE d.text = the_dag AND r.run_id = the_run_id)
    AND task = (SELECT id FROM excom.name WHERE text = the_task) AND map_index = the_map
$$;

-- The end of an attempt, with its last pushes.
CREATE FUNCTION excom.finish(
    the_dag text, the_run_id text, the_task text, the_map int4, the_attempt uuid, the_state int2, has_ended bool,
    the_time int8, dags text[], run_ids text[], tasks text[], maps int4[], keys text[], versions int8[],
    writers text[], sizes int8[], hashes int8[], shapes int8[], heads text[], codecs int2[], bodies bytea[],
    key_ids text[], the_cause text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    the_number int4 := excom.fence(the_dag, the_run_id, the_task, the_map, the_attempt);
    push record;
BEGIN
    FOR push IN
        SELECT * FROM unnest(dags, run_ids, tasks, maps, keys, versions, writers, sizes, hashes, shapes, heads,
                             codecs, bodies, key_ids) WITH ORDINALITY
            AS p (dag, run_id, task, map_index, key, version, writer, size, hash, shape, head, codec, body, key_id,
                  place)
        ORDER BY place
    LOOP
        IF NOT excom.put(the_number, push.dag, push.run_id, push.task, push.map_index, push.key, push.version,
                         push.writer, push.size, push.hash, push.shape, push.head, push.codec, push.body,
                         push.key_id, the_cause, the_time)
        THEN
            RAISE EXCEPTION 'the version was pushed before' USING ERRCODE = 'XC004', DETAIL = push.version;
        END IF;
    END LOOP;
    PERFORM excom.set_state(the_dag, the_run_id, the_task, the_map, the_state, has_ended, the_time);
END $$;

-- Moves the entries of a task instance to the history, and returns how many. They are found by a look for each key
-- that its task has, because map indexes lie behind keys.
CREATE FUNCTION excom.clear_instance(
    the_run int4, the_task int4, the_map int4, the_cause text, the_time int8
) RETURNS int8 LANGUAGE sql AS $$
    WITH RECURSIVE own (key) AS (
        (SELECT key FROM excom.entry WHERE run = the_run AND task = the_task ORDER BY key LIMIT 1)
        UNION ALL
        SELECT (SELECT e.key FROM excom.entry e WHERE run = the_run AND task = the_task AND e.key > own.key
                ORDER BY e.key LIMIT 1)
        FROM own WHERE own.key IS NOT NULL)
    SELECT count(*) FILTER (WHERE excom.end_entry(the_run, the_task, key, the_map, 1::int2, the_cause, the_time))
    FROM own WHERE key IS NOT NULL
$$;

-- Starts an attempt, or goes on with it.
CREATE FUNCTION excom.start_attempt(
    the_dag text, the_run_id text, the_task text, the_map int4, the_attempt uuid, the_try int4, is_fresh bool,
    the_cause text, the_time int8, OUT the_number int4, OUT cleared int8
) LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.run_of(the_dag, the_run_id, the_time);
    task_number int4 := excom.number_of(the_task);
    current excom.task_instance;
BEGIN
    cleared := 0;
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_run, task_number, the_map, 0));
    SELECT * INTO current FROM excom.task_instance
    WHERE run = the_run AND task = task_number AND map_index = the_map;
    IF current.attempt = the_attempt THEN
        the_number := current.number;
        UPDATE excom.task_instance SET state = 2, took = NULL
        WHERE run = the_run AND task = task_number AND map_index = the_map;
        RETURN;
    END IF;
    PERFORM FROM excom.attempt
    WHERE run = the_run AND task = task_number AND map_index = the_map AND attempt = the_attempt;
    IF FOUND THEN
        RAISE EXCEPTION 'the attempt was superseded' USING ERRCODE = 'XC001';
    ELSIF NOT is_fresh THEN
        RAISE EXCEPTION 'the attempt has not started' USING ERRCODE = 'XC002';
    END IF;
    IF current.number > 0 THEN
        INSERT INTO excom.attempt (run, task, map_index, number, started, took, attempt, try_number, state)
        VALUES (the_run, task_number, the_map, current.number, current.started, current.took, current.attempt,
                current.try_number, current.state);
    END IF;
    INSERT INTO excom.task_instance AS i (run, task, map_index, number, started, attempt, try_number, state)
    VALUES (the_run, task_number, the_map, 1, the_time, the_attempt, the_try, 2)
    ON CONFLICT (run, task, map_index) DO UPDATE SET number = i.number + 1, started = excluded.started,
        took = NULL, attempt = excluded.attempt, try_number = excluded.try_number, state = excluded.state
    RETURNING number INTO the_number;
    cleared := excom.clear_instance(the_run, task_number, the_map, the_cause, the_time);
END $$;

-- Clears an XCom, or all of a task instance when there is no key; a caller that is an attempt is fenced.
CREATE FUNCTION excom.clear(
    own_dag text, own_run_id text, own_task text, own_map int4, own_attempt uuid,
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_cause text, the_time int8
) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
    task_number int4 := (SELECT id FROM excom.name WHERE text = the_task);
BEGIN
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_run, task_number, the_map, 0));
    PERFORM excom.fence(own_dag, own_run_id, own_task, own_map, own_attempt);
    IF the_key IS NULL THEN
        RETURN excom.clear_instance(the_run, task_number, the_map, the_cause, the_time);
    END IF;
    RETURN excom.end_entry(the_run, task_number, (SELECT id FROM excom.name WHERE text = the_key), the_map,
                           1::int2, the_cause, the_time)::int4;
END $$;

-- A field of a reference; none when the bytes are in the database.
CREATE FUNCTION excom.reference(the_codec int2, the_body bytea, the_field text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN the_codec = 2 THEN convert_from(the_body, 'UTF8')::json ->> the_field END
$$;

-- Removes an XCom, or all of a task instance, with its history and reads.
CREATE FUNCTION excom.delete(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_time int8
) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
    task_number int4 := (SELECT id FROM excom.name WHERE text = the_task);
    key_number int4 := (SELECT id FROM excom.name WHERE text = the_key);
    gone int8;
BEGIN
    IF the_key IS NOT NULL AND key_number IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_run, task_number, the_map, 0));
    WITH entries AS (
        DELETE FROM excom.entry
        WHERE run = the_run AND task = task_number AND map_index = the_map AND key = coalesce(key_number, key)
        RETURNING version, run, task, key, map_index, codec, body),
    past AS (
        DELETE FROM excom.history
        WHERE run = the_run AND task = task_number AND map_index = the_map AND key = coalesce(key_number, key)
        RETURNING version, run, task, key, map_index, codec, body),
    versions AS (SELECT * FROM entries UNION ALL SELECT * FROM past),
    loose AS (
        INSERT INTO excom.loose_object (version, run, task, key, map_index, store, since, purge)
        SELECT version, run, task, key, map_index, excom.reference(codec, body, 'store'), the_time, true
        FROM versions WHERE codec = 2
        ON CONFLICT (version, run, task, key, map_index) DO UPDATE
            SET store = excluded.store, since = excluded.since, purge = true)
    SELECT count(*) INTO gone FROM versions;
    DELETE FROM excom.ledger
    WHERE run = the_run AND task = task_number AND map_index = the_map AND key = coalesce(key_number, key);
    IF the_key IS NULL THEN
        DELETE FROM excom.rendered WHERE run = the_run AND task = task_number AND map_index = the_map;
    END IF;
    RETURN gone;
END $$;

-- Notes that an object is about to be written; false when its version was pushed before.
CREATE FUNCTION excom.note_intent(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8, the_store text,
    the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.run_of(the_dag, the_run_id, the_time);
    task_number int4 := excom.number_of(the_task);
    key_number int4 := excom.number_of(the_key);
BEGIN
    PERFORM excom.lock_xcom(the_run, task_number, the_map, key_number);
    IF EXISTS (
        SELECT FROM excom.entry
        WHERE run = the_run AND task = task_number AND key = key_number AND map_index = the_map
        AND version = the_version
        UNION ALL
        SELECT FROM excom.history
        WHERE run = the_run AND task = task_number AND key = key_number AND map_index = the_map
        AND version = the_version)
    THEN
        RETURN false;
    END IF;
    -- An object that is being removed must not become an intent again: whoever removes it goes on.
    INSERT INTO excom.loose_object AS l (version, run, task, key, map_index, store, since, purge)
    VALUES (the_version, the_run, task_number, key_number, the_map, the_store, the_time, false)
    ON CONFLICT (version, run, task, key, map_index) DO UPDATE SET since = excluded.since WHERE NOT l.purge;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the object is being removed' USING ERRCODE = 'XC005';
    END IF;
    RETURN true;
END $$;

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
    task_number int4 := (SELECT id FROM excom.name WHERE text = the_task);
    key_number int4 := (SELECT id FROM excom.name WHERE text = the_key);
BEGIN
    PERFORM excom.lock_xcom(the_run, task_number, the_map, key_number);
    INSERT INTO excom.loose_object (version, run, task, key, map_index, store, since, purge)
    SELECT version, run, task, key, map_index, the_store, the_time, false
    FROM (SELECT version, run, task, key, map_index, codec, body FROM excom.entry WHERE NOT is_past
          UNION ALL
          SELECT version, run, task, key, map_index, codec, body FROM excom.history WHERE is_past) found
    WHERE run = the_run AND task = task_number AND key = key_number AND map_index = the_map
    AND version = the_version AND excom.is_at(codec, body, from_store, from_mac)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- Puts a version's bytes where they were moved to, while they are where they were found and, in another store, their
-- intent is there. What stays in its store is only sealed anew, with no key that is retired. The head is none for a value
-- that is in a store.
CREATE FUNCTION excom.move_stored(
    is_past bool, the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8,
    from_store text, from_mac text, the_store text, the_head text, the_codec int2, the_body bytea, the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
    task_number int4 := (SELECT id FROM excom.name WHERE text = the_task);
    key_number int4 := (SELECT id FROM excom.name WHERE text = the_key);
    stays bool := coalesce(the_store = from_store, false);
    loose record;
BEGIN
    IF excom.is_retired(excom.reference(the_codec, the_body, 'key_id')) THEN
        RETURN false;
    END IF;
    PERFORM excom.lock_xcom(the_run, task_number, the_map, key_number);
    SELECT store, purge INTO loose FROM excom.loose_object
    WHERE version = the_version AND run = the_run AND task = task_number AND key = key_number
    AND map_index = the_map FOR UPDATE;
    -- Something of it that is being written or removed has the only row that there is for it.
    IF (CASE WHEN stays THEN false
             WHEN the_store IS NULL THEN FOUND
             ELSE NOT FOUND OR loose.purge OR loose.store <> the_store END)
    THEN
        RETURN false;
    END IF;
    IF is_past THEN
        UPDATE excom.history SET head = coalesce(the_head, head), codec = the_codec, body = the_body,
            offloaded = the_codec = 2
        WHERE run = the_run AND task = task_number AND key = key_number AND map_index = the_map
        AND version = the_version AND excom.is_at(codec, body, from_store, from_mac);
    ELSE
        UPDATE excom.entry SET head = coalesce(the_head, head), codec = the_codec, body = the_body
        WHERE run = the_run AND task = task_number AND key = key_number AND map_index = the_map
        AND version = the_version AND excom.is_at(codec, body, from_store, from_mac);
    END IF;
    IF NOT FOUND OR stays THEN
        RETURN FOUND;
    END IF;
    DELETE FROM excom.loose_object
    WHERE version = the_version AND run = the_run AND task = task_number AND key = key_number
    AND map_index = the_map;
    IF from_store IS NOT NULL THEN
        INSERT INTO excom.loose_object (version, run, task, key, map_index, store, since, purge)
        VALUES (the_version, the_run, task_number, key_number, the_map, from_store, the_time, true);
    END IF;
    RETURN true;
END $$;

-- Takes over an orphan for removal; false when it is known after all.
CREATE FUNCTION excom.claim_orphan(
    the_dag text, the_run_id text, the_task text, the_map int4, the_key text, the_version int8, the_store text,
    the_time int8
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.run_of(the_dag, the_run_id, the_time);
    task_number int4 := excom.number_of(the_task);
    key_number int4 := excom.number_of(the_key);
BEGIN
    PERFORM excom.lock_xcom(the_run, task_number, the_map, key_number);
    INSERT INTO excom.loose_object (version, run, task, key, map_index, store, since, purge)
    SELECT the_version, the_run, task_number, key_number, the_map, the_store, the_time, true
    WHERE NOT EXISTS (
        SELECT FROM (SELECT run, task, key, map_index, version, codec, body FROM excom.entry
                     UNION ALL
                     SELECT run, task, key, map_index, version, codec, body FROM excom.history) known
        WHERE run = the_run AND task = task_number AND key = key_number AND map_index = the_map
        AND version = the_version AND excom.reference(codec, body, 'store') = the_store)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- The first rule that catches each of some entries, by their places. Kinds of rules: 0 pushed before, 1 behind so
-- many newer runs, 2 not read since, 3 of runs that were done before. What is asked about a run is found out once.
CREATE FUNCTION excom.caught(
    kinds int2[], bounds int8[], runs int4[], tasks int4[], keys int4[], maps int4[], versions int8[]
) RETURNS TABLE (place int8, rule int8) LANGUAGE sql STABLE AS $$
    WITH asked AS MATERIALIZED (
        SELECT a.*, (a.version >> 22) + 1577836800000 AS pushed
        FROM unnest(runs, tasks, keys, maps, versions) WITH ORDINALITY
            AS a (run, task, key, map_index, version, place)),
    -- States below 6 are of task instances that have not finished; 6, 8 and 10 have done so without failing.
    run AS MATERIALIZED (
        SELECT r.id,
            r.state IS NOT DISTINCT FROM 0
                OR EXISTS (SELECT FROM excom.task_instance i WHERE i.run = r.id AND i.state < 6) AS goes_on,
            CASE WHEN r.state = 1 AND NOT EXISTS (
                SELECT FROM excom.task_instance i WHERE i.run = r.id AND i.state NOT IN (6, 8, 10))
            THEN r.ended END AS done
        FROM excom.dag_run r
        WHERE kinds <> '{0}' AND r.id IN (SELECT run FROM asked)),
    task AS MATERIALIZED (
        SELECT own.id AS run, a.task, (
            SELECT count(*) FROM (
                SELECT FROM excom.dag_run r
                WHERE r.dag = own.dag
                AND (coalesce(r.logical_date, r.run_after), r.run_id)
                    > (coalesce(own.logical_date, own.run_after), own.run_id)
                AND EXISTS (SELECT FROM excom.entry e WHERE e.run = r.id AND e.task = a.task)
                LIMIT (SELECT max(bound) FROM unnest(kinds, bounds) AS k (kind, bound) WHERE kind = 1)) n) AS newer
        FROM (SELECT DISTINCT asked.run, asked.task FROM asked WHERE 1 = ANY (kinds)) a
        JOIN excom.dag_run own ON own.id = a.run)
    SELECT a.place, min(k.place)
    FROM asked a LEFT JOIN run ON run.id = a.run LEFT JOIN task t ON t.run = a.run AND t.task = a.task
    CROSS JOIN unnest(kinds, bounds) WITH ORDINALITY AS k (kind, bound, place)
    WHERE CASE k.kind
        WHEN 0 THEN a.pushed < k.bound
        WHEN 1 THEN NOT run.goes_on AND t.newer >= k.bound
        WHEN 2 THEN a.pushed < k.bound AND NOT run.goes_on AND NOT EXISTS (
            SELECT FROM excom.ledger l
            WHERE l.run = a.run AND l.task = a.task AND l.key = a.key
            AND ((l.map_index = a.map_index AND l.version = a.version) OR (l.map_index = -2 AND l.version = 0))
            AND l.last >= k.bound)
        ELSE run.done < k.bound
    END
    GROUP BY a.place
$$;

-- Makes entries expired that the same rules still catch. Nothing is pushed to or read from their runs meanwhile.
-- What other rules catch goes first, because it does not count among the newest that are kept.
-- Entries name their run, task and key by their places among all runs and names, so that each of these is found once.
CREATE FUNCTION excom.expire(
    kinds int2[], bounds int8[], texts text[], dags text[], run_ids text[], names text[], runs int4[], tasks int4[],
    keys int4[], maps int4[], versions int8[], the_time int8, OUT entries int8, OUT bytes int8
) LANGUAGE plpgsql AS $$
DECLARE
    first_kinds int2[] := ARRAY(SELECT kind FROM unnest(kinds) WITH ORDINALITY AS k (kind, place)
                                WHERE kind <> 1 ORDER BY place);
    first_bounds int8[] := ARRAY(SELECT bound FROM unnest(kinds, bounds) WITH ORDINALITY AS k (kind, bound, place)
                                 WHERE kind <> 1 ORDER BY place);
    run_numbers int4[];
    name_numbers int4[];
    is_last bool;
    removed record;
BEGIN
    entries := 0;
    bytes := 0;
    PERFORM pg_advisory_xact_lock(place) FROM (
        SELECT DISTINCT excom.run_lock(dag, run_id) AS place FROM unnest(dags, run_ids) AS r (dag, run_id)
        ORDER BY 1) locks;
    run_numbers := ARRAY(
        SELECT (SELECT r.id FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id
                WHERE d.text = a.dag AND r.run_id = a.run_id)
        FROM unnest(dags, run_ids) WITH ORDINALITY AS a (dag, run_id, place) ORDER BY place);
    name_numbers := ARRAY(
        SELECT (SELECT id FROM excom.name n WHERE n.text = a.text)
        FROM unnest(names) WITH ORDINALITY AS a (text, place) ORDER BY place);
    FOREACH is_last IN ARRAY CASE WHEN 1 = ANY (kinds) THEN '{f,t}'::bool[] ELSE '{t}' END LOOP
        WITH asked AS MATERIALIZED (
            SELECT e.ctid AS row, e.run, e.task, e.key, e.map_index, e.version, row_number() OVER () AS place
            FROM unnest(runs, tasks, keys, maps, versions) AS a (run, task, key, map_index, version)
            JOIN excom.entry e ON e.run = run_numbers[a.run] AND e.task = name_numbers[a.task]
                AND e.key = name_numbers[a.key] AND e.map_index = a.map_index AND e.version = a.version),
        lists AS (
            SELECT array_agg(run ORDER BY place) AS runs, array_agg(task ORDER BY place) AS tasks,
                array_agg(key ORDER BY place) AS keys, array_agg(map_index ORDER BY place) AS maps,
                array_agg(version ORDER BY place) AS versions
            FROM asked),
        due AS MATERIALIZED (
            SELECT asked.row, texts[c.rule] AS cause
            FROM lists CROSS JOIN excom.caught(kinds, bounds, lists.runs, lists.tasks, lists.keys, lists.maps,
                                               lists.versions) c
            JOIN asked ON asked.place = c.place
            WHERE is_last OR asked.place IN (
                SELECT f.place FROM lists CROSS JOIN excom.caught(first_kinds, first_bounds, lists.runs, lists.tasks,
                                                                  lists.keys, lists.maps, lists.versions) f)),
        gone AS (
            DELETE FROM excom.entry e USING due WHERE e.ctid = due.row RETURNING e.*, due.cause),
        loose AS (
            INSERT INTO excom.loose_object (version, run, task, key, map_index, store, since, purge)
            SELECT version, run, task, key, map_index, excom.reference(codec, body, 'store'), the_time, true
            FROM gone WHERE codec = 2
            ON CONFLICT (version, run, task, key, map_index) DO UPDATE
                SET store = excluded.store, since = excluded.since, purge = true),
        past AS (
            INSERT INTO excom.history (version, size, hash, shape, ended_at, run, task, key, map_index, number, codec,
                                       reason, offloaded, writer, by, head, body)
            SELECT version, size, hash, shape, the_time, run, task, key, map_index, number, -1,
                   2, codec = 2, writer, cause, head, ''
            FROM gone)
        SELECT count(*) AS entries, coalesce(sum(size), 0)::int8 AS bytes INTO removed FROM gone;
        entries := entries + removed.entries;
        bytes := bytes + removed.bytes;
    END LOOP;
END $$;

-- Whether a run is old and holds nothing. One that was killed stays running, but starts nothing more.
CREATE FUNCTION excom.is_spent(the_run int4, the_time int8) RETURNS bool LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM excom.dag_run r
        WHERE id = the_run
        AND coalesce(ended, started, run_after) < the_time
        AND NOT EXISTS (SELECT FROM excom.entry WHERE run = r.id)
        AND NOT EXISTS (SELECT FROM excom.history WHERE run = r.id)
        AND NOT EXISTS (SELECT FROM excom.loose_object WHERE run = r.id)
        AND NOT EXISTS (
            SELECT FROM excom.task_instance i WHERE i.run = r.id
            AND CASE WHEN r.state = 0 THEN i.number > 0 AND i.started >= the_time
                     ELSE i.state NOT BETWEEN 6 AND 10 END))
$$;

-- Removes runs that are old and hold nothing, with all that is theirs. One in which something is being written
-- waits for the next time.
CREATE FUNCTION excom.drop_runs(the_time int8, the_limit int8) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    old record;
    dropped int8 := 0;
BEGIN
    FOR old IN
        SELECT r.id, d.text AS dag, r.run_id FROM excom.dag_run r JOIN excom.name d ON d.id = r.dag
        WHERE coalesce(r.ended, r.started, r.run_after) < the_time AND excom.is_spent(r.id, the_time) ORDER BY r.id LIMIT the_limit
    LOOP
        IF pg_try_advisory_xact_lock(excom.run_lock(old.dag, old.run_id)) AND excom.is_spent(old.id, the_time) THEN
            DELETE FROM excom.task_instance WHERE run = old.id;
            DELETE FROM excom.attempt WHERE run = old.id;
            DELETE FROM excom.rendered WHERE run = old.id;
            DELETE FROM excom.ledger WHERE run = old.id;
            DELETE FROM excom.dag_run WHERE id = old.id;
            dropped := dropped + 1;
        END IF;
    END LOOP;
    IF dropped > 0 THEN
        DELETE FROM excom.dag_version v
        WHERE seen < the_time AND NOT EXISTS (
            SELECT FROM excom.dag_run r WHERE r.dag = v.dag AND r.dag_version = v.version);
    END IF;
    RETURN dropped;
END $$;
