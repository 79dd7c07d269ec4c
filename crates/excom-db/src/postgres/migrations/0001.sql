-- The tables. Times are milliseconds since 1970, UTC. Text is compared by its bytes. Columns lie in order of
-- their alignment and the rows that there are most of have no NULL, which saves 8 bytes of each.

-- Task ids, DAG ids and keys, each stored once. Rows are never removed.
CREATE TABLE excom.name (
    id   int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text COLLATE "C" NOT NULL UNIQUE
);

-- Ids are never used again.
CREATE TABLE excom.dag_run (
    id           int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag          int4 NOT NULL,
    logical_date int8,
    run_after    int8 NOT NULL,
    started      int8,
    ended        int8,
    state        int2,                  -- NULL for a run that was never started
    run_id       text COLLATE "C" NOT NULL,
    conf         text,                  -- the parameters, a JSON dict
    dag_version  text COLLATE "C",
    UNIQUE (dag, run_id)
);
-- Lists of runs, prior dates, the newest so many.
CREATE INDEX dag_run_date ON excom.dag_run (dag, (coalesce(logical_date, run_after)), run_id);

-- Versions of DAGs, in the order seen.
CREATE TABLE excom.dag_version (
    id       int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag      int4 NOT NULL,
    seen     int8 NOT NULL,
    version  text COLLATE "C" NOT NULL,
    document text NOT NULL,             -- JSON
    UNIQUE (dag, version)
);

-- A task instance with its current attempt: the one that may write.
CREATE TABLE excom.task_instance (
    run        int4 NOT NULL,
    task       int4 NOT NULL,
    map_index  int4 NOT NULL,
    number     int4 NOT NULL,           -- of the attempt, from 1; 0 before the first
    started    int8,
    took       int8,                    -- milliseconds from start to end
    attempt    uuid,
    try_number int4,
    state      int2 NOT NULL,
    PRIMARY KEY (run, task, map_index)
) WITH (fillfactor = 70);               -- states change in place

-- Attempts that were superseded.
CREATE TABLE excom.attempt (
    run        int4 NOT NULL,
    task       int4 NOT NULL,
    map_index  int4 NOT NULL,
    number     int4 NOT NULL,
    started    int8 NOT NULL,
    took       int8,
    attempt    uuid NOT NULL,
    try_number int4 NOT NULL,
    state      int2 NOT NULL,
    PRIMARY KEY (run, task, map_index, number)
);

-- What the fields of operators were rendered to, in the newest attempt of which it was kept.
CREATE TABLE excom.rendered (
    run       int4 NOT NULL,
    task      int4 NOT NULL,
    map_index int4 NOT NULL,
    number    int4 NOT NULL,            -- of the attempt
    fields    text NOT NULL,            -- a JSON list of names and values
    PRIMARY KEY (run, task, map_index)
);

-- The current version of each value. A push deletes and inserts, so ids are in order of time.
CREATE TABLE excom.entry (
    id        int8 GENERATED ALWAYS AS IDENTITY,
    version   int8 NOT NULL,
    size      int8 NOT NULL,
    hash      int8 NOT NULL,
    shape     int8 NOT NULL,
    run       int4 NOT NULL,
    task      int4 NOT NULL,
    key       int4 NOT NULL,
    map_index int4 NOT NULL,
    number    int4 NOT NULL,            -- of the own attempt that wrote it; 0 for other writers
    codec     int2 NOT NULL,
    writer    text NOT NULL,            -- another writer, as JSON
    head      text NOT NULL,            -- the beginning of the value's text; empty for a secret
    body      bytea NOT NULL,           -- the rest, or the reference
    PRIMARY KEY (run, task, key, map_index)
);
-- Retention and moves look at what was pushed first; objects are known by their version.
CREATE INDEX entry_id ON excom.entry (id);
CREATE INDEX entry_object ON excom.entry (version) WHERE codec = 2;
-- What is compressed already is not compressed again.
ALTER TABLE excom.entry ALTER body SET STORAGE EXTERNAL;

-- Versions that ended. Without bytes, codec is -1.
CREATE TABLE excom.history (
    id        int8 GENERATED ALWAYS AS IDENTITY,
    version   int8 NOT NULL,
    size      int8 NOT NULL,
    hash      int8 NOT NULL,
    shape     int8 NOT NULL,
    ended_at  int8 NOT NULL,
    run       int4 NOT NULL,
    task      int4 NOT NULL,
    key       int4 NOT NULL,
    map_index int4 NOT NULL,
    number    int4 NOT NULL,
    codec     int2 NOT NULL,
    reason    int2 NOT NULL,
    offloaded bool NOT NULL,
    writer    text NOT NULL,
    by        text NOT NULL,
    head      text NOT NULL,
    body      bytea NOT NULL
);
ALTER TABLE excom.history ALTER body SET STORAGE EXTERNAL;
CREATE INDEX history_key ON excom.history (run, task, key, map_index, version);
CREATE INDEX history_id ON excom.history (id) WHERE codec >= 0;
CREATE INDEX history_object ON excom.history (version) WHERE codec = 2;
-- Each row is in one of these: what is next to lose its bytes, and what is next to be forgotten.
CREATE INDEX history_bytes ON excom.history (ended_at) WHERE codec >= 0;
CREATE INDEX history_ended ON excom.history (ended_at) WHERE codec < 0;

-- Who read what: one row for a reader and a version, or (map_index -2, version 0) a whole sequence.
CREATE TABLE excom.ledger (
    version       int8 NOT NULL,
    count         int8 NOT NULL,
    first         int8 NOT NULL,
    last          int8 NOT NULL,
    run           int4 NOT NULL,
    task          int4 NOT NULL,
    key           int4 NOT NULL,
    map_index     int4 NOT NULL,
    reader_run    int4 NOT NULL,        -- 0: not a task
    reader_task   int4 NOT NULL,
    reader_map    int4 NOT NULL,
    reader_number int4 NOT NULL,        -- of the attempt
    reader        text COLLATE "C" NOT NULL,    -- who else
    PRIMARY KEY (run, task, key, map_index, version, reader_run, reader_task, reader_map, reader_number, reader)
);
-- What a task read in its own run is found by the run; what it read in others, by this.
CREATE INDEX ledger_elsewhere ON excom.ledger (reader_run, reader_task, reader_map)
    WHERE reader_run <> run AND reader_run > 0;

-- Any text is a variable's, also one with NUL, which text columns refuse.
CREATE TABLE excom.variable (
    updated     int8 NOT NULL,
    key         text COLLATE "C" PRIMARY KEY,
    text        bytea NOT NULL,
    description bytea
);

-- Objects without an entry: being written, or to be removed (purge), which one process at a time does (claimed): another
-- would remove what may be written again under the same name.
CREATE TABLE excom.loose_object (
    version   int8 NOT NULL,
    since     int8 NOT NULL,
    run       int4 NOT NULL,
    task      int4 NOT NULL,
    key       int4 NOT NULL,
    map_index int4 NOT NULL,
    purge     bool NOT NULL,
    claimed   bool NOT NULL DEFAULT false,
    store     text COLLATE "C" NOT NULL,
    PRIMARY KEY (version, run, task, key, map_index)
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
    rule   text COLLATE "C" NOT NULL,   -- as it is set
    dag    text COLLATE "C" NOT NULL,
    task   text COLLATE "C" NOT NULL,
    target text COLLATE "C" NOT NULL,   -- DAG/TASK, * for any
    PRIMARY KEY (rule, dag, task, target)
);

-- Rows come and go all the time, so their space is made free after a hundredth of a table has gone, and without pauses:
-- what a step of retention removes is written again by the next pushes, and the tables stay as large as they were.
DO $$
DECLARE part text;
BEGIN
    FOREACH part IN ARRAY '{entry,history,ledger,task_instance,loose_object}'::text[] LOOP
        EXECUTE format('ALTER TABLE excom.%I SET (autovacuum_vacuum_scale_factor = 0.01,
            autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)', part);
    END LOOP;
END $$;
