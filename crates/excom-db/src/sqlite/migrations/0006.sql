-- What fields were rendered to becomes one of a task instance's notes.
CREATE TABLE excom_note (
    run       INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    name      TEXT NOT NULL,
    number    INTEGER NOT NULL,    -- of the attempt that wrote it
    value     TEXT NOT NULL,       -- JSON
    PRIMARY KEY (run, task, map_index, name)
) WITHOUT ROWID;
INSERT INTO excom_note SELECT run, task, map_index, 'rendered', number, fields FROM excom_rendered;
DROP TABLE excom_rendered;
