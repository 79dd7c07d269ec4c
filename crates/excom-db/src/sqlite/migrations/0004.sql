-- What the small values of a DAG have in common; they are compressed with the newest. Rows never change and are never
-- removed, because a value that was compressed with one can be read with nothing else.
CREATE TABLE dictionary (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,  -- also in its bytes, and in each value compressed with it
    dag     INTEGER NOT NULL,
    bytes   BLOB NOT NULL,     -- as zstd knows dictionaries
    hash    INTEGER NOT NULL,  -- of the bytes
    trained INTEGER NOT NULL,
    samples INTEGER NOT NULL,  -- how many values its gain was measured on
    before  INTEGER NOT NULL,  -- bytes of these without it
    after   INTEGER NOT NULL   -- and with it
) STRICT;
CREATE INDEX dictionary_dag ON dictionary (dag);
-- The format of zstd reserves the numbers below.
INSERT INTO sqlite_sequence VALUES ('dictionary', 32767);
