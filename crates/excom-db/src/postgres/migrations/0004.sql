-- What fields were rendered to becomes one of a task instance's notes.
CREATE TABLE excom.note (
    run       int4 NOT NULL,
    task      int4 NOT NULL,
    map_index int4 NOT NULL,
    number    int4 NOT NULL,            -- of the attempt that wrote it
    name      text NOT NULL,
    value     text NOT NULL,            -- JSON
    PRIMARY KEY (run, task, map_index, name)
);
INSERT INTO excom.note (run, task, map_index, number, name, value)
SELECT run, task, map_index, number, 'rendered', fields FROM excom.rendered;
DROP TABLE excom.rendered;

-- What a repetition that comes late starts has ended, and stays so; and what removes rendered fields removes notes.
DO $do$
DECLARE
    body text := pg_get_functiondef('excom.start_attempt'::regproc);
BEGIN
    EXECUTE replace(body, 'UPDATE excom.task_instance SET state = 2, took = NULL
        WHERE', 'UPDATE excom.task_instance SET state = 2, took = NULL
        WHERE state NOT BETWEEN 5 AND 10 AND');
    body := pg_get_functiondef('excom.delete'::regproc);
    EXECUTE replace(body, 'DELETE FROM excom.rendered WHERE', 'DELETE FROM excom.note WHERE name = ''rendered'' AND');
    body := pg_get_functiondef('excom.drop_runs'::regproc);
    EXECUTE replace(body, 'excom.rendered', 'excom.note');
END $do$;
