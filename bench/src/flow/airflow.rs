//! A chain under `airflow dags test`, as who tries out a DAG runs it: a real Airflow, durable on SQLite.

use std::fs;
use std::path::Path;
use std::time::Instant;

use excom_testkit::python::{AIRFLOW, Python};
use rusqlite::{Connection, OpenFlags};

use super::Result;
use crate::Place;
use crate::report::Beside;

/// How many tasks `chain.py` has.
const TASKS: u32 = 20;

/// The figures of one run, or why there are none.
pub(super) fn chain() -> Vec<(String, Beside)> {
    let name = format!("Airflow {AIRFLOW}, `airflow dags test`, {TASKS} tasks of 1 KB, SQLite");
    let times = match Python::with_airflow().map_err(Into::into).and_then(|python| run(&python)) {
        Ok(times) => times,
        Err(why) => return vec![(name, Beside::Missing(why.to_string()))],
    };
    let of = |what: &str, figure| (format!("{name}, {what}"), Beside::Figure(figure));
    vec![
        of("tasks/s from the first task's start to the last one's end", f64::from(TASKS) / times.tasks),
        of("tasks/s without the first, which loads what all need", f64::from(TASKS - 1) / times.others),
        of("s of the whole command", times.command),
    ]
}

/// Seconds.
struct Times {
    tasks: f64,
    /// All tasks but the first, from that one's end.
    others: f64,
    command: f64,
}

fn run(python: &Python) -> Result<Times> {
    let place = Place::new()?;
    let home = place.file("airflow");
    fs::create_dir_all(home.join("dags"))?;
    fs::write(home.join("dags/chain.py"), include_str!("chain.py"))?;
    python.airflow(&home, &["db", "migrate"])?;
    let begin = Instant::now();
    python.airflow(&home, &["dags", "test", "chain"])?;
    let command = begin.elapsed().as_secs_f64();
    let (tasks, others) = noted(&home.join("airflow.db"))?;
    Ok(Times { tasks, others, command })
}

/// What Airflow's database says of how long all tasks, and all but the first, took.
fn noted(database: &Path) -> Result<(f64, f64)> {
    let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let passed: u32 = database.query_row(
        "SELECT count(*) FROM task_instance JOIN xcom USING (dag_id, run_id, task_id, map_index)
         WHERE state = 'success' AND key = 'return_value' AND length(value) = 1024",
        [],
        |row| row.get(0),
    )?;
    if passed != TASKS {
        return Err(format!("{passed} of {TASKS} tasks pushed their kilobyte and succeeded").into());
    }
    let seconds = "SELECT (julianday(max(end_date)) - julianday(min(start_date))) * 86400,
                          (julianday(max(end_date)) - julianday(min(end_date))) * 86400 FROM task_instance";
    Ok(database.query_row(seconds, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
}
