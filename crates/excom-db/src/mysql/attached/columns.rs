//! What statements ask for, in the order in which `row` reads it, and how Airflow's rows and ours are brought together.
//! Statements call Airflow's database `airflow`; tables without a database are ours.

/// A name in a column of Airflow's as bytes: its collation may take names for the same that differ.
macro_rules! bytes {
    ($column:literal) => {
        concat!("CAST(CONVERT(", $column, " USING utf8mb4) AS BINARY)")
    };
}
pub(super) use bytes;

/// Whether a column of Airflow's is a name, which is a parameter or of a row that is found before: by its index, and then
/// to the byte. Airflow's ids are `utf8mb3`, and their indexes are of use to nothing else.
macro_rules! same {
    ($column:literal, $name:literal) => {
        concat!(
            "(",
            $column,
            " = CONVERT(",
            $name,
            " USING utf8mb3) AND CAST(CONVERT(",
            $column,
            " USING utf8mb4) AS BINARY) = ",
            $name,
            ")"
        )
    };
}
pub(super) use same;

/// The parts of a row's key, as [`row::key`](super::super::row::key) reads them.
macro_rules! key {
    () => {
        concat!(
            bytes!("x.dag_id"),
            ", ",
            bytes!("x.run_id"),
            ", ",
            bytes!("x.task_id"),
            ", x.map_index, ",
            bytes!("x.key")
        )
    };
}
pub(super) use key;

/// Whether a row `x` is that of an XCom of a list `a`.
macro_rules! listed {
    () => {
        concat!(
            same!("x.dag_id", "a.dag"),
            " AND ",
            same!("x.run_id", "a.run_id"),
            " AND ",
            same!("x.task_id", "a.task"),
            " AND x.map_index = a.map_index AND ",
            same!("x.key", "a.xcom_key")
        )
    };
}
pub(super) use listed;

/// Microseconds of a time of Airflow's.
macro_rules! micros {
    ($column:literal) => {
        concat!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ", $column, ")")
    };
}
pub(super) use micros;

/// Milliseconds of a time of Airflow's.
macro_rules! millis {
    ($column:literal) => {
        concat!("(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ", $column, ") DIV 1000)")
    };
}
pub(super) use millis;

/// The version of a row `x` that something else wrote, as [`written`](crate::airflow::written) says.
macro_rules! written {
    () => {
        "((GREATEST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', x.timestamp) DIV 1000 - 1577836800000, 0) << 22)
          | ((TIMESTAMPDIFF(MICROSECOND, '1970-01-01', x.timestamp) MOD 1000) << 12))"
    };
}
pub(super) use written;

/// Whether what is known in `e` is of the value in `x`: that has the time of its push, or of its writing where it was taken
/// over, or the same reference still, saved again as it was. [`pushed`](crate::airflow::pushed) and
/// [`written`](crate::airflow::written) say how these times belong to the version.
macro_rules! counts {
    () => {
        "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', x.timestamp)
              IN (((e.version >> 22) + 1577836800000) * 1000 + e.version MOD 1000,
                  CASE WHEN e.version & 4095 = 0 THEN
                      ((e.version >> 22) + 1577836800000) * 1000 + ((e.version >> 12) & 1023) END)
          OR (e.codec = 2 AND COALESCE(JSON_TYPE(x.value) = 'OBJECT'
              AND JSON_UNQUOTE(JSON_EXTRACT(x.value, '$.\"$excom\"')) = 'reference-1'
              AND CAST(JSON_UNQUOTE(JSON_EXTRACT(x.value, '$.version')) AS BINARY)
                  = CAST(LPAD(LOWER(HEX(e.version)), 16, '0') AS BINARY)
              AND CAST(JSON_UNQUOTE(JSON_EXTRACT(x.value, '$.mac')) AS BINARY)
                  = CAST(JSON_UNQUOTE(JSON_EXTRACT(CONVERT(e.body USING utf8mb4), '$.mac')) AS BINARY), FALSE)))"
    };
}
pub(super) use counts;

/// What is known in `e` of the rows `x`, which come before it; nothing where something else wrote them.
macro_rules! known {
    () => {
        concat!(
            " LEFT JOIN excom_name d ON d.text = ",
            bytes!("x.dag_id"),
            " LEFT JOIN excom_dag_run r ON r.dag = d.id AND r.run_id = ",
            bytes!("x.run_id"),
            " LEFT JOIN excom_name t ON t.text = ",
            bytes!("x.task_id"),
            " LEFT JOIN excom_name k ON k.text = ",
            bytes!("x.key"),
            " LEFT JOIN excom_entry e ON e.run = r.id AND e.task = t.id AND e.xcom_key = k.id
                  AND e.map_index = x.map_index AND ",
            counts!(),
            " "
        )
    };
}
pub(super) use known;

/// What is said instead of [`known!`] where there is no database of ours: nothing is known.
pub(super) const NOTHING_KNOWN: (&str, &str) = (
    known!(),
    " LEFT JOIN (SELECT NULL AS version, NULL AS number, NULL AS writer, NULL AS size, NULL AS hash, NULL AS shape,
                        NULL AS head, NULL AS codec, NULL AS body) e ON FALSE ",
);

/// The rows `x` of entries `e` that are known and count.
macro_rules! rows {
    () => {
        concat!(
            " JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
              JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.xcom_key
              JOIN airflow.xcom x ON ",
            same!("x.dag_id", "d.text"),
            " AND ",
            same!("x.run_id", "r.run_id"),
            " AND ",
            same!("x.task_id", "t.text"),
            " AND x.map_index = e.map_index AND ",
            same!("x.key", "k.text"),
            " AND ",
            counts!(),
            " "
        )
    };
}
pub(super) use rows;

/// Airflow's row `x` of an entry `e` of a statement around this, by its key.
macro_rules! its_row {
    () => {
        concat!(
            " FROM excom_dag_run r JOIN excom_name d ON d.id = r.dag JOIN excom_name t ON t.id = e.task
              JOIN excom_name k ON k.id = e.xcom_key JOIN airflow.xcom x ON ",
            same!("x.dag_id", "d.text"),
            " AND ",
            same!("x.run_id", "r.run_id"),
            " AND ",
            same!("x.task_id", "t.text"),
            " AND x.map_index = e.map_index AND ",
            same!("x.key", "k.text"),
            " WHERE r.id = e.run "
        )
    };
}
pub(super) use its_row;

/// What [`row::entry`](super::row::entry) reads of `e` and `x`.
macro_rules! entry {
    () => {
        "e.version, e.number, e.writer, e.size, e.hash, e.shape, e.head, e.codec, e.body,
         TIMESTAMPDIFF(MICROSECOND, '1970-01-01', x.timestamp),
         CASE WHEN COALESCE(e.codec, 4) = 4 THEN COALESCE(x.value, 'null') END"
    };
}
pub(super) use entry;

/// What [`row::info`](super::row::info) reads of `e` and `x`: the text only of what something else wrote.
macro_rules! info {
    () => {
        "e.version, e.number, e.writer, e.size, e.hash, e.shape, e.head, e.codec, '',
         TIMESTAMPDIFF(MICROSECOND, '1970-01-01', x.timestamp),
         CASE WHEN e.version IS NULL THEN COALESCE(x.value, 'null') END"
    };
}
pub(super) use info;

/// How many columns each of these is.
pub(super) const COLUMNS: usize = 11;

/// The rows of a task instance in a table of Airflow's, by the texts of its parts.
macro_rules! ti {
    ($dag:literal, $run:literal, $task:literal, $map:literal) => {
        concat!(
            " ",
            same!($dag, ":dag"),
            " AND ",
            same!($run, ":run_id"),
            " AND ",
            same!($task, ":task"),
            " AND ",
            $map,
            " = :map_index "
        )
    };
}
pub(super) use ti;

/// The tries of a task instance that have started, as [`row::attempt`](super::row::attempt) reads them. A task instance
/// gets its next id as soon as a try has failed, but that one starts with a date of its own.
pub(super) const TRIES: &str = concat!(
    "SELECT i.try_number AS number, CAST(i.id AS CHAR) AS attempt, i.state, ",
    millis!("i.start_date"),
    ", CASE WHEN i.state IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed', 'up_for_retry') THEN ",
    millis!("i.end_date"),
    " END FROM airflow.task_instance i WHERE ",
    ti!("i.dag_id", "i.run_id", "i.task_id", "i.map_index"),
    "AND i.start_date IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM airflow.task_instance_history h
                 WHERE h.dag_id = i.dag_id AND h.task_id = i.task_id AND h.run_id = i.run_id
                 AND h.map_index = i.map_index AND h.start_date = i.start_date)
             UNION ALL
             SELECT h.try_number, CAST(h.task_instance_id AS CHAR), h.state, ",
    millis!("h.start_date"),
    ", ",
    millis!("h.end_date"),
    " FROM airflow.task_instance_history h WHERE ",
    ti!("h.dag_id", "h.run_id", "h.task_id", "h.map_index"),
    "AND h.start_date IS NOT NULL ORDER BY 1"
);
