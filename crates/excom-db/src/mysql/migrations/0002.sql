-- What fields were rendered to becomes one of a task instance's notes.
CREATE TABLE IF NOT EXISTS excom_note (
    run       INT NOT NULL,
    task      INT NOT NULL,
    map_index INT NOT NULL,
    name      VARBINARY(2048) NOT NULL,
    number    INT NOT NULL,                 -- of the attempt that wrote it
    value     LONGBLOB NOT NULL,            -- JSON
    PRIMARY KEY (run, task, map_index, name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
CREATE TABLE IF NOT EXISTS excom_rendered (
    run       INT NOT NULL,
    task      INT NOT NULL,
    map_index INT NOT NULL,
    number    INT NOT NULL,
    fields    LONGBLOB NOT NULL,
    PRIMARY KEY (run, task, map_index)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
INSERT IGNORE INTO excom_note SELECT run, task, map_index, 'rendered', number, fields FROM excom_rendered;
DROP TABLE excom_rendered;
