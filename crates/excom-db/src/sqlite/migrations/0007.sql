-- Entries that are what their DAGs return. A row counts while its version is the entry's, so a push that does not say so
-- need not look here, and entries are no larger.
CREATE TABLE excom_result (
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    key       INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (run, task, key, map_index)
) STRICT, WITHOUT ROWID;
