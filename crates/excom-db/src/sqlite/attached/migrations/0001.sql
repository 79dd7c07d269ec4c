-- What Airflow's tables have no place for. It is kept as in a file of Excom's own, whose migrations say more of each table;
-- runs, task instances and attempts are Airflow's. Nothing here is newer than the oldest SQLite that Airflow's Python may
-- have, which reads it too: so no table is strict, and columns that hold anything have no type.
CREATE TABLE excom_name (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);

-- Numbers of runs. Rows are never removed either. All else of a run is in Airflow's row.
CREATE TABLE excom_dag_run (
    id        INTEGER PRIMARY KEY,
    dag       INTEGER NOT NULL,
    run_id    TEXT NOT NULL,
    run_after INTEGER NOT NULL,    -- when it became known
    UNIQUE (dag, run_id)
);

CREATE TABLE excom_dag_version (
    id       INTEGER PRIMARY KEY,
    dag      INTEGER NOT NULL,
    version  TEXT NOT NULL,
    document TEXT NOT NULL,
    seen     INTEGER NOT NULL,
    UNIQUE (dag, version)
);

-- Attempts whose start cleared what was there: it is done once.
CREATE TABLE excom_started (
    attempt BLOB PRIMARY KEY,      -- the id of Airflow's task instance
    at      INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE excom_rendered (
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    fields    TEXT NOT NULL,
    PRIMARY KEY (run, task, map_index)
) WITHOUT ROWID;

-- What is known of a row of `xcom` that Excom wrote.
CREATE TABLE excom_entry (
    id        INTEGER PRIMARY KEY,
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    key       INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    version   INTEGER NOT NULL,    -- with the time that Airflow's row has
    writer    NOT NULL,
    size      INTEGER NOT NULL,
    hash      INTEGER NOT NULL,
    shape     INTEGER NOT NULL,
    head      TEXT NOT NULL,
    codec     INTEGER NOT NULL,    -- 4: the text is that of Airflow's column
    body      BLOB
);
CREATE UNIQUE INDEX excom_entry_key ON excom_entry (run, task, key, map_index);
CREATE INDEX excom_entry_object ON excom_entry (version) WHERE codec = 2;

CREATE TABLE excom_history (
    id        INTEGER PRIMARY KEY,
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    key       INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    writer    NOT NULL,
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
);
CREATE INDEX excom_history_key ON excom_history (run, task, key, map_index);
CREATE INDEX excom_history_bytes ON excom_history (ended_at) WHERE codec IS NOT NULL;
CREATE INDEX excom_history_object ON excom_history (version) WHERE codec = 2;

CREATE TABLE excom_ledger (
    run            INTEGER NOT NULL,
    task           INTEGER NOT NULL,
    key            INTEGER NOT NULL,
    map_index      INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    reader_run     INTEGER NOT NULL,
    reader         NOT NULL,
    reader_map     INTEGER NOT NULL,
    reader_attempt INTEGER NOT NULL,
    count          INTEGER NOT NULL,
    first          INTEGER NOT NULL,
    last           INTEGER NOT NULL,
    PRIMARY KEY (run, task, key, map_index, version, reader_run, reader, reader_map, reader_attempt)
) WITHOUT ROWID;
CREATE INDEX excom_ledger_elsewhere ON excom_ledger (reader_run, reader, reader_map)
    WHERE reader_run <> run AND reader_run > 0;

CREATE TABLE excom_variable (
    key         TEXT PRIMARY KEY,
    text        TEXT NOT NULL,
    description TEXT,
    updated     INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE excom_loose_object (
    version   INTEGER NOT NULL,
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    key       INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    store     TEXT NOT NULL,
    since     INTEGER NOT NULL,
    purge     INTEGER NOT NULL,
    PRIMARY KEY (version, run, task, key, map_index)
) WITHOUT ROWID;

CREATE TABLE excom_mark (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE excom_refusal (
    rule   TEXT NOT NULL,
    dag    TEXT NOT NULL,
    task   TEXT NOT NULL,
    target TEXT NOT NULL,
    count  INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (rule, dag, task, target)
) WITHOUT ROWID;
