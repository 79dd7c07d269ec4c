-- Task ids, DAG ids and keys, each stored once. Rows are never removed, so ids can be remembered.
CREATE TABLE name (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO name (id, text) VALUES (1, 'return_value');

-- Ids are never used again, so an id remembered by another process leads nowhere, not elsewhere.
CREATE TABLE dag_run (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    dag          INTEGER NOT NULL,
    run_id       TEXT NOT NULL,
    logical_date INTEGER,          -- milliseconds since 1970, UTC, as all times
    run_after    INTEGER NOT NULL,
    conf         TEXT,             -- the parameters, a JSON dict
    dag_version  TEXT,
    state        INTEGER,          -- NULL for a run that was never started
    started      INTEGER,
    ended        INTEGER,
    UNIQUE (dag, run_id)
) STRICT;

-- Versions of DAGs, in the order seen.
CREATE TABLE dag_version (
    id       INTEGER PRIMARY KEY,
    dag      INTEGER NOT NULL,
    version  TEXT NOT NULL,
    document TEXT NOT NULL,        -- JSON
    seen     INTEGER NOT NULL,
    UNIQUE (dag, version)
) STRICT;

-- A task instance with its current attempt: the one that may write.
CREATE TABLE task_instance (
    run        INTEGER NOT NULL,
    task       INTEGER NOT NULL,
    map_index  INTEGER NOT NULL,
    number     INTEGER NOT NULL,   -- of the attempt, from 1; 0 before the first
    attempt    BLOB,
    try_number INTEGER,
    state      INTEGER NOT NULL,
    started    INTEGER,            -- milliseconds behind the time in the attempt's id
    took       INTEGER,            -- milliseconds from start to end
    PRIMARY KEY (run, task, map_index)
) STRICT, WITHOUT ROWID;

-- Attempts that were superseded.
CREATE TABLE attempt (
    run        INTEGER NOT NULL,
    task       INTEGER NOT NULL,
    map_index  INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    attempt    BLOB NOT NULL,
    try_number INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    started    INTEGER NOT NULL,
    took       INTEGER,
    PRIMARY KEY (run, task, map_index, number)
) STRICT, WITHOUT ROWID;

-- What the fields of operators were rendered to, in the newest attempt of which it was kept.
CREATE TABLE rendered (
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    number    INTEGER NOT NULL,    -- of the attempt
    fields    TEXT NOT NULL,       -- a JSON list of names and values
    PRIMARY KEY (run, task, map_index)
) STRICT, WITHOUT ROWID;

-- The current version of each value. A push deletes and inserts, so ids are in order of time.
CREATE TABLE entry (
    id        INTEGER PRIMARY KEY,
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    key       INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    writer    ANY NOT NULL,        -- the number of an own attempt, or JSON
    size      INTEGER NOT NULL,
    hash      INTEGER NOT NULL,
    shape     INTEGER NOT NULL,
    head      TEXT NOT NULL,       -- the beginning of the value's text
    codec     INTEGER NOT NULL,
    body      BLOB                 -- the rest, or the reference
) STRICT;
CREATE UNIQUE INDEX entry_key ON entry (run, task, key, map_index);
CREATE INDEX entry_object ON entry (version) WHERE codec = 2;

-- Versions that ended. Without bytes, codec and body are NULL.
CREATE TABLE history (
    id        INTEGER PRIMARY KEY,
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    key       INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    writer    ANY NOT NULL,
    size      INTEGER NOT NULL,
    hash      INTEGER NOT NULL,
    shape     INTEGER NOT NULL,
    head      TEXT NOT NULL,
    codec     INTEGER,
    body      BLOB,
    offloaded INTEGER NOT NULL,
    ended_at  INTEGER NOT NULL,
    reason    INTEGER NOT NULL,
    by        TEXT NOT NULL
) STRICT;
CREATE INDEX history_key ON history (run, task, key, map_index);
CREATE INDEX history_bytes ON history (ended_at) WHERE codec IS NOT NULL;
CREATE INDEX history_object ON history (version) WHERE codec = 2;

-- Who read what: one row for a reader and a version, or (map_index -2, version 0) a whole sequence.
CREATE TABLE ledger (
    run            INTEGER NOT NULL,
    task           INTEGER NOT NULL,
    key            INTEGER NOT NULL,
    map_index      INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    reader_run     INTEGER NOT NULL,   -- 0: not a task
    reader         ANY NOT NULL,       -- the task, or who else
    reader_map     INTEGER NOT NULL,
    reader_attempt INTEGER NOT NULL,
    count          INTEGER NOT NULL,
    first          INTEGER NOT NULL,
    last           INTEGER NOT NULL,   -- milliseconds behind first
    PRIMARY KEY (run, task, key, map_index, version, reader_run, reader, reader_map, reader_attempt)
) STRICT, WITHOUT ROWID;

-- What a task read in its own run is found by the run; what it read in others, by this.
CREATE INDEX ledger_elsewhere ON ledger (reader_run, reader, reader_map)
    WHERE reader_run <> run AND reader_run > 0;

CREATE TABLE variable (
    key         TEXT PRIMARY KEY,
    text        TEXT NOT NULL,
    description TEXT,
    updated     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Objects without an entry: being written (purge 0), or to be removed (purge 1).
CREATE TABLE loose_object (
    version   INTEGER NOT NULL,
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    key       INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    store     TEXT NOT NULL,
    since     INTEGER NOT NULL,
    purge     INTEGER NOT NULL,
    PRIMARY KEY (version, run, task, key, map_index)
) STRICT, WITHOUT ROWID;

-- Remembered settings, such as the fingerprint of the seal key.
CREATE TABLE mark (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
