-- Entries that are what their DAGs return. A row counts while its version is the entry's, so a push that does not say so
-- need not look here, and entries are no larger.
CREATE TABLE IF NOT EXISTS excom_result (
    run       INT NOT NULL,
    task      INT NOT NULL,
    xcom_key  INT NOT NULL,
    map_index INT NOT NULL,
    version   BIGINT NOT NULL,
    PRIMARY KEY (run, task, xcom_key, map_index)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
