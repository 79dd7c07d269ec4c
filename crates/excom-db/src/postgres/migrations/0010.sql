-- Assets, known from the first event of each, and their events.
CREATE TABLE excom.asset (
    id     int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seen   int8 NOT NULL,               -- when its newest event was made
    digest bytea NOT NULL UNIQUE,       -- of name and URI, which are too long for an index
    name   text NOT NULL,
    uri    text NOT NULL,
    extra  text NOT NULL                -- a JSON dict
);
CREATE INDEX asset_name ON excom.asset USING hash (name);
CREATE INDEX asset_uri ON excom.asset USING hash (uri);
CREATE INDEX asset_seen ON excom.asset (seen);

CREATE TABLE excom.asset_event (
    id            int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset         int8 NOT NULL,
    at            int8 NOT NULL,
    run           int4 NOT NULL,
    task          int4 NOT NULL,
    map_index     int4 NOT NULL,
    number        int4 NOT NULL,        -- of the attempt
    partition_key text,
    extra         text NOT NULL         -- a JSON dict
);
CREATE INDEX asset_event_asset ON excom.asset_event (asset, at, id);
-- Whether an attempt has noted its own, and what goes with a run.
CREATE INDEX asset_event_attempt ON excom.asset_event (run, task, map_index, number);
CREATE INDEX asset_event_at ON excom.asset_event (at);

-- Under which aliases events were made.
CREATE TABLE excom.asset_alias (
    at     int8 NOT NULL,               -- of the event
    event  int8 NOT NULL,
    asset  int8 NOT NULL,
    digest bytea NOT NULL,              -- of the alias
    PRIMARY KEY (digest, at, event)
);
CREATE INDEX asset_alias_event ON excom.asset_alias (event);
CREATE INDEX asset_alias_at ON excom.asset_alias (at);

-- What texts are found by.
CREATE FUNCTION excom.digest_of(VARIADIC texts text[]) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(string_agg(sha256(convert_to(text, 'UTF8')), NULL ORDER BY place))
    FROM unnest(texts) WITH ORDINALITY AS t (text, place)
$$;

-- Notes the events of an attempt, unless it has noted some. The task instance is held alone, so a repetition waits; assets
-- become known in one order.
CREATE FUNCTION excom.note_asset_events(
    the_dag text, the_run_id text, the_task text, the_map int4, the_attempt uuid, the_time int8, names text[],
    uris text[], asset_extras text[], extras text[], partition_keys text[], alias_places int4[], aliases text[]
) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    the_run int4 := excom.known_run(the_dag, the_run_id);
    task_number int4 := (SELECT id FROM excom.name WHERE text = the_task);
    the_number int4;
    made record;
BEGIN
    PERFORM pg_advisory_xact_lock(excom.lock_of(the_run, task_number, the_map, 0));
    the_number := excom.fence(the_dag, the_run_id, the_task, the_map, the_attempt);
    PERFORM FROM excom.asset_event
    WHERE run = the_run AND task = task_number AND map_index = the_map AND number = the_number;
    IF FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO excom.asset AS a (seen, digest, name, uri, extra)
    SELECT DISTINCT ON (digest) the_time, digest, name, uri, extra FROM (
        SELECT excom.digest_of(name, uri) AS digest, name, uri, extra, place
        FROM unnest(names, uris, asset_extras) WITH ORDINALITY AS e (name, uri, extra, place)) told
    ORDER BY digest, place
    ON CONFLICT (digest) DO UPDATE SET seen = greatest(a.seen, excluded.seen);
    FOR place IN 1 .. array_length(names, 1) LOOP
        INSERT INTO excom.asset_event (asset, at, run, task, map_index, number, partition_key, extra)
        SELECT a.id, the_time, the_run, task_number, the_map, the_number, partition_keys[place], extras[place]
        FROM excom.asset a WHERE a.digest = excom.digest_of(names[place], uris[place])
        RETURNING id, asset INTO made;
        INSERT INTO excom.asset_alias (at, event, asset, digest)
        SELECT the_time, made.id, made.asset, excom.digest_of(alias)
        FROM unnest(alias_places, aliases) AS l (alias_place, alias) WHERE alias_place = place
        ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN true;
END $$;

-- What removes a run removes its events too.
DO $do$
DECLARE
    body text := pg_get_functiondef('excom.drop_runs'::regproc);
BEGIN
    EXECUTE replace(body, 'DELETE FROM excom.ledger WHERE', 'DELETE FROM excom.asset_alias
            WHERE event IN (SELECT id FROM excom.asset_event WHERE run = old.id);
            DELETE FROM excom.asset_event WHERE run = old.id;
            DELETE FROM excom.ledger WHERE');
END $do$;
