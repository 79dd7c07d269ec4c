
-- Attempts whose start cleared what was there: it is done once.
CREATE TABLE IF NOT EXISTS excom_started (
    attempt BINARY(16) NOT NULL PRIMARY KEY, -- the id of Airflow's task instance
    at      BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
