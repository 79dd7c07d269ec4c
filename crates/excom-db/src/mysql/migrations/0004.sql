-- Assets, known from the first event of each, and their events.
CREATE TABLE IF NOT EXISTS excom_asset (
    id     BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    seen   BIGINT NOT NULL,                 -- when its newest event was made
    digest BINARY(32) NOT NULL,             -- of name and URI, which are too long for an index
    name   VARBINARY(6000) NOT NULL,
    uri    VARBINARY(6000) NOT NULL,
    extra  LONGBLOB NOT NULL,               -- a JSON dict
    UNIQUE KEY asset_digest (digest),
    KEY asset_name (name(255)),
    KEY asset_uri (uri(255)),
    KEY asset_seen (seen)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
CREATE TABLE IF NOT EXISTS excom_asset_event (
    id            BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    asset         BIGINT NOT NULL,
    made          BIGINT NOT NULL,
    run           INT NOT NULL,
    task          INT NOT NULL,
    map_index     INT NOT NULL,
    number        INT NOT NULL,             -- of the attempt
    partition_key VARBINARY(1000),
    extra         LONGBLOB NOT NULL,        -- a JSON dict
    KEY asset_event_asset (asset, made, id),
    -- Whether an attempt has noted its own, and what goes with a run.
    KEY asset_event_attempt (run, task, map_index, number),
    KEY asset_event_made (made)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
-- Under which aliases events were made.
CREATE TABLE IF NOT EXISTS excom_asset_alias (
    digest BINARY(32) NOT NULL,             -- of the alias
    made   BIGINT NOT NULL,                 -- the event
    event  BIGINT NOT NULL,
    asset  BIGINT NOT NULL,
    PRIMARY KEY (digest, made, event),
    KEY asset_alias_event (event),
    KEY asset_alias_made (made)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
