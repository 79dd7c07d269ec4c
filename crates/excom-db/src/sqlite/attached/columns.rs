//! What statements ask for, in the order in which `row` reads it, and how Airflow's rows and ours are brought together.

/// Microseconds of a time of Airflow's, which is a text in UTC: `2026-01-31 23:59:59.000001`.
macro_rules! micros {
    ($column:literal) => {
        concat!(
            "(CAST(strftime('%s', substr(",
            $column,
            ", 1, 19)) AS INTEGER) * 1000000 + CAST(substr(",
            $column,
            ", 21, 6) AS INTEGER))"
        )
    };
}
pub(super) use micros;

/// Milliseconds of a time of Airflow's; NULL for none.
macro_rules! millis {
    ($column:literal) => {
        concat!(
            "(CAST(strftime('%s', substr(",
            $column,
            ", 1, 19)) AS INTEGER) * 1000 + CAST(substr(",
            $column,
            ", 21, 3) AS INTEGER))"
        )
    };
}
pub(super) use millis;

/// Whether what is known in `e` is of the value in `x`: that has the time of its push, or of its writing where it was taken
/// over, or the same reference still, saved again as it was. [`pushed`](crate::airflow::pushed) and
/// [`written`](crate::airflow::written) say how these times belong to the version.
macro_rules! counts {
    () => {
        concat!(
            "(",
            micros!("x.timestamp"),
            " IN (((e.version >> 22) + 1577836800000) * 1000 + e.version % 1000,
                  iif(e.version & 4095 = 0,
                      ((e.version >> 22) + 1577836800000) * 1000 + ((e.version >> 12) & 1023), NULL))
              OR CASE WHEN e.codec = 2 AND json_valid(x.value) THEN ifnull(
                  x.value ->> '$.\"$excom\"' = 'reference-1' AND x.value ->> '$.version' = printf('%016x', e.version)
                  AND x.value ->> '$.mac' = e.body ->> '$.mac', 0) ELSE 0 END)"
        )
    };
}
pub(super) use counts;

/// What is known in `e` of the rows `x`, which come before it; nothing where something else wrote them.
macro_rules! known {
    () => {
        concat!(
            " LEFT JOIN excom_name d ON d.text = x.dag_id
              LEFT JOIN excom_dag_run o ON o.dag = d.id AND o.run_id = x.run_id
              LEFT JOIN excom_name t ON t.text = x.task_id
              LEFT JOIN excom_name k ON k.text = x.key
              LEFT JOIN excom_entry e ON e.run = o.id AND e.task = t.id AND e.key = k.id
                  AND e.map_index = x.map_index AND ",
            counts!(),
            " "
        )
    };
}
pub(super) use known;

/// What is said instead of [`known!`] where there are no tables of ours: nothing is known.
pub(super) const NOTHING_KNOWN: (&str, &str) = (
    known!(),
    " LEFT JOIN (SELECT NULL AS version, NULL AS writer, NULL AS size, NULL AS hash, NULL AS shape, NULL AS head,
                        NULL AS codec, NULL AS body) e ON 0 ",
);

/// The row `x` of an entry `e` that is known, in the run `r` with the names `d`, `t` and `k`, by its key.
macro_rules! its_row {
    () => {
        " CROSS JOIN xcom x ON x.dag_id = d.text AND x.run_id = r.run_id AND x.task_id = t.text
              AND x.map_index = e.map_index AND x.key = k.text "
    };
}
pub(super) use its_row;

/// The same where it counts.
macro_rules! row {
    () => {
        concat!(its_row!(), "AND ", counts!(), " ")
    };
}
pub(super) use row;

/// A value of Airflow's as text: its column turns a number that is alone into one of its own.
macro_rules! value {
    () => {
        "ifnull(CAST(x.value AS TEXT), 'null')"
    };
}
pub(super) use value;

/// What [`row::entry`](super::row::entry) reads of `e` and `x`.
macro_rules! entry {
    () => {
        concat!(
            "e.version, e.writer, e.size, e.hash, e.shape, e.head, e.codec, e.body, ",
            micros!("x.timestamp"),
            ", iif(ifnull(e.codec, 4) = 4, ",
            value!(),
            ", NULL)"
        )
    };
}
pub(super) use entry;

/// What [`row::info`](super::row::info) reads of `e` and `x`: the text only of what something else wrote.
macro_rules! info {
    () => {
        concat!(
            "e.version, e.writer, e.size, e.hash, e.shape, e.head, e.codec, NULL, ",
            micros!("x.timestamp"),
            ", iif(e.version IS NULL, ",
            value!(),
            ", NULL)"
        )
    };
}
pub(super) use info;

/// How many columns each of these is.
pub(super) const COLUMNS: usize = 10;

/// The task instance (`?1` to `?4`) that the rows of a table are of.
macro_rules! of_ti {
    ($table:literal) => {
        concat!(
            " ",
            $table,
            ".dag_id = ?1 AND ",
            $table,
            ".run_id = ?2 AND ",
            $table,
            ".task_id = ?3 AND ",
            $table,
            ".map_index = ?4 "
        )
    };
}
pub(super) use of_ti;

/// The tries of a task instance that have started, as [`row::attempt`](super::row::attempt) reads them. A task instance
/// gets its next id as soon as a try has failed, but that one starts with a date of its own.
pub(super) const TRIES: &str = concat!(
    "SELECT i.try_number AS number, i.id, i.state, ",
    millis!("i.start_date"),
    ", CASE WHEN i.state IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed', 'up_for_retry') THEN ",
    millis!("i.end_date"),
    " END FROM task_instance i WHERE",
    of_ti!("i"),
    "AND i.start_date IS NOT NULL AND NOT EXISTS (
         SELECT 1 FROM task_instance_history h
         WHERE h.dag_id = i.dag_id AND h.task_id = i.task_id AND h.run_id = i.run_id
         AND h.map_index = i.map_index AND h.start_date = i.start_date)
     UNION ALL
     SELECT h.try_number, h.task_instance_id, h.state, ",
    millis!("h.start_date"),
    ", ",
    millis!("h.end_date"),
    " FROM task_instance_history h WHERE",
    of_ti!("h"),
    "AND h.start_date IS NOT NULL ORDER BY 1"
);
