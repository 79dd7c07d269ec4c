-- The tables. Times are milliseconds since 1970, UTC. Text is UTF-8 in binary columns, so it is compared by its bytes
-- whatever the collation of the database. A statement ends with a line; each may be run again, because MySQL keeps
-- what it made of a migration that is interrupted.

-- Task ids, DAG ids, keys and readers, each stored once. Rows are never removed.
CREATE TABLE IF NOT EXISTS excom_name (
    id   INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    text VARBINARY(2048) NOT NULL,
    UNIQUE KEY name_text (text)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Ids are never used again.
CREATE TABLE IF NOT EXISTS excom_dag_run (
    id           INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    dag          INT NOT NULL,
    run_id       VARBINARY(1000) NOT NULL,
    logical_date BIGINT,
    run_after    BIGINT NOT NULL,
    due          BIGINT GENERATED ALWAYS AS (COALESCE(logical_date, run_after)) STORED,
    started      BIGINT,
    ended        BIGINT,
    state        SMALLINT,                  -- NULL for a run that was never started
    conf         LONGBLOB,                  -- the parameters, a JSON dict
    dag_version  VARBINARY(1000),
    UNIQUE KEY dag_run_run (dag, run_id),
    -- Lists of runs, prior dates, the newest so many.
    KEY dag_run_date (dag, due, run_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Versions of DAGs, in the order seen.
CREATE TABLE IF NOT EXISTS excom_dag_version (
    id       INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    dag      INT NOT NULL,
    version  VARBINARY(1000) NOT NULL,
    document LONGBLOB NOT NULL,             -- JSON
    seen     BIGINT NOT NULL,
    UNIQUE KEY dag_version_version (dag, version)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- A task instance with its current attempt: the one that may write.
CREATE TABLE IF NOT EXISTS excom_task_instance (
    run        INT NOT NULL,
    task       INT NOT NULL,
    map_index  INT NOT NULL,
    number     INT NOT NULL,                -- of the attempt, from 1; 0 before the first
    started    BIGINT,
    took       BIGINT,                      -- milliseconds from start to end
    attempt    BINARY(16),
    try_number INT,
    state      SMALLINT NOT NULL,
    PRIMARY KEY (run, task, map_index)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Attempts that were superseded.
CREATE TABLE IF NOT EXISTS excom_attempt (
    run        INT NOT NULL,
    task       INT NOT NULL,
    map_index  INT NOT NULL,
    number     INT NOT NULL,
    started    BIGINT NOT NULL,
    took       BIGINT,
    attempt    BINARY(16) NOT NULL,
    try_number INT NOT NULL,
    state      SMALLINT NOT NULL,
    PRIMARY KEY (run, task, map_index, number)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- What the fields of operators were rendered to, in the newest attempt of which it was kept.
CREATE TABLE IF NOT EXISTS excom_rendered (
    run       INT NOT NULL,
    task      INT NOT NULL,
    map_index INT NOT NULL,
    number    INT NOT NULL,                 -- of the attempt
    fields    LONGBLOB NOT NULL,            -- a JSON list of names and values
    PRIMARY KEY (run, task, map_index)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- The current version of each value. A push deletes and inserts, so ids are in order of time.
CREATE TABLE IF NOT EXISTS excom_entry (
    run       INT NOT NULL,
    task      INT NOT NULL,
    xcom_key  INT NOT NULL,
    map_index INT NOT NULL,
    id        BIGINT NOT NULL AUTO_INCREMENT,
    version   BIGINT NOT NULL,
    size      BIGINT NOT NULL,
    hash      BIGINT NOT NULL,
    shape     BIGINT NOT NULL,
    number    INT NOT NULL,                 -- of the own attempt that wrote it; 0 for other writers
    codec     SMALLINT NOT NULL,
    writer    BLOB NOT NULL,                -- another writer, as JSON
    head      VARBINARY(255) NOT NULL,      -- the beginning of the value's text; empty for a secret
    body      LONGBLOB NOT NULL,            -- the rest, or the reference
    PRIMARY KEY (run, task, xcom_key, map_index),
    -- Retention and moves look at what was pushed first; objects are known by their version.
    KEY entry_id (id),
    KEY entry_object (version)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Versions that ended. Without bytes, codec is -1.
CREATE TABLE IF NOT EXISTS excom_history (
    id        BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    run       INT NOT NULL,
    task      INT NOT NULL,
    xcom_key  INT NOT NULL,
    map_index INT NOT NULL,
    version   BIGINT NOT NULL,
    size      BIGINT NOT NULL,
    hash      BIGINT NOT NULL,
    shape     BIGINT NOT NULL,
    number    INT NOT NULL,
    codec     SMALLINT NOT NULL,
    stripped  TINYINT GENERATED ALWAYS AS (codec < 0) STORED,
    reason    SMALLINT NOT NULL,
    offloaded TINYINT NOT NULL,
    ended_at  BIGINT NOT NULL,
    writer    BLOB NOT NULL,
    ended_by  BLOB NOT NULL,
    head      VARBINARY(255) NOT NULL,
    body      LONGBLOB NOT NULL,
    KEY history_key (run, task, xcom_key, map_index, version),
    KEY history_object (version),
    -- What is next to lose its bytes, and what is next to be forgotten.
    KEY history_ended (stripped, ended_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Who read what: one row for a reader and a version, or (map_index -2, version 0) a whole sequence.
CREATE TABLE IF NOT EXISTS excom_ledger (
    run           INT NOT NULL,
    task          INT NOT NULL,
    xcom_key      INT NOT NULL,
    map_index     INT NOT NULL,
    version       BIGINT NOT NULL,
    reader_run    INT NOT NULL,             -- 0: not a task
    reader_task   INT NOT NULL,
    reader_map    INT NOT NULL,
    reader_number INT NOT NULL,             -- of the attempt
    reader        INT NOT NULL,             -- who else, a name; 0 for a task
    count         BIGINT NOT NULL,
    first         BIGINT NOT NULL,
    last          BIGINT NOT NULL,
    PRIMARY KEY (run, task, xcom_key, map_index, version, reader_run, reader_task, reader_map, reader_number, reader),
    -- What a task read.
    KEY ledger_reader (reader_run, reader_task, reader_map)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

CREATE TABLE IF NOT EXISTS excom_variable (
    name        VARBINARY(2048) NOT NULL PRIMARY KEY,
    updated     BIGINT NOT NULL,
    text        LONGBLOB NOT NULL,
    description LONGBLOB
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Objects without an entry: being written, or to be removed (is_purge).
CREATE TABLE IF NOT EXISTS excom_loose_object (
    version   BIGINT NOT NULL,
    run       INT NOT NULL,
    task      INT NOT NULL,
    xcom_key  INT NOT NULL,
    map_index INT NOT NULL,
    since     BIGINT NOT NULL,
    is_purge  TINYINT NOT NULL,
    -- One process at a time removes it: another would remove what may be written again under the same name.
    is_claimed TINYINT NOT NULL DEFAULT 0,
    store     VARBINARY(2048) NOT NULL,
    PRIMARY KEY (version, run, task, xcom_key, map_index),
    -- Whether a run may go.
    KEY loose_object_run (run)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Remembered settings, such as the fingerprint of the seal key.
CREATE TABLE IF NOT EXISTS excom_mark (
    name  VARBINARY(2048) NOT NULL PRIMARY KEY,
    value LONGBLOB NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- What tasks did that a rule stands against, while the rules were only observed.
CREATE TABLE IF NOT EXISTS excom_refusal (
    digest BINARY(32) NOT NULL PRIMARY KEY, -- of the four texts, which are too long for an index
    count  BIGINT NOT NULL,
    first  BIGINT NOT NULL,
    last   BIGINT NOT NULL,
    rule   BLOB NOT NULL,                   -- as it is set
    dag    BLOB NOT NULL,
    task   BLOB NOT NULL,
    target BLOB NOT NULL                    -- DAG/TASK, * for any
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Rows to be locked in the name of task instances, which may have no row of their own yet. Nothing is written here.
CREATE TABLE IF NOT EXISTS excom_slot (
    id INT NOT NULL PRIMARY KEY
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

INSERT IGNORE INTO excom_slot (id)
WITH digit (n) AS (SELECT 0 UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3
                   UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7)
SELECT a.n * 512 + b.n * 64 + c.n * 8 + d.n FROM digit a, digit b, digit c, digit d;
