-- Assets, known from the first event of each, and their events.
CREATE TABLE excom_asset (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    name  TEXT NOT NULL,
    uri   TEXT NOT NULL,
    extra TEXT NOT NULL,           -- a JSON dict
    seen  INTEGER NOT NULL,        -- when its newest event was made
    UNIQUE (name, uri)
) STRICT;
CREATE INDEX excom_asset_uri ON excom_asset (uri);
CREATE TABLE excom_asset_event (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    asset         INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    run           INTEGER NOT NULL,
    task          INTEGER NOT NULL,
    map_index     INTEGER NOT NULL,
    number        INTEGER NOT NULL,    -- of the attempt
    partition_key TEXT,
    extra         TEXT NOT NULL        -- a JSON dict
) STRICT;
CREATE INDEX excom_asset_event_asset ON excom_asset_event (asset, at);
-- Whether an attempt has noted its own, and what goes with a run.
CREATE INDEX excom_asset_event_attempt ON excom_asset_event (run, task, map_index, number);
CREATE INDEX excom_asset_event_at ON excom_asset_event (at);
-- Under which aliases events were made.
CREATE TABLE excom_asset_alias (
    alias TEXT NOT NULL,
    at    INTEGER NOT NULL,        -- of the event
    event INTEGER NOT NULL,
    asset INTEGER NOT NULL,
    PRIMARY KEY (alias, at, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX excom_asset_alias_event ON excom_asset_alias (event);
