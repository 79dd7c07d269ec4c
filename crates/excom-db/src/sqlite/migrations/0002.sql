-- What tasks did that a rule stands against, while the rules were only observed.
CREATE TABLE refusal (
    rule   TEXT NOT NULL,          -- as it is set
    dag    TEXT NOT NULL,
    task   TEXT NOT NULL,
    target TEXT NOT NULL,          -- DAG/TASK, * for any
    count  INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (rule, dag, task, target)
) STRICT, WITHOUT ROWID;
