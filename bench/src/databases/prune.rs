//! Retention removes half of two million entries while sixteen callers go on.

use std::io::{Seek as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use excom_core::{Caller, Engine, PullOptions, XComKey};
use excom_testkit::postgres::Postgres;
use excom_testkit::python::Python;

use super::many::{RUN, filled};
use super::traffic::callers;
use super::{Figures, engine_on};
use crate::Place;
use crate::engine::{Result, THREADS, key, with_upkeep};
use crate::payload::{Kind, kilobytes};
use crate::report::Beside;

const DATABASE: &str = "many";

/// How long callers are watched at rest.
const REST: Duration = Duration::from_secs(5);

/// `airflow db clean` as its command calls it, from where Airflow is loaded, and a file for its seconds.
const CLEAN: &str = "
import sys, time
from datetime import datetime, timezone
from airflow.utils.db_cleanup import run_cleanup
begin = time.perf_counter()
run_cleanup(clean_before_timestamp=datetime(2026, 10, 1, tzinfo=timezone.utc), table_names=['xcom'],
            skip_archive=True, confirm=False)
open(sys.argv[1], 'w').write(str(time.perf_counter() - begin))";

/// Seconds that retention takes, and those of Airflow's own beside nothing else, on a server of its own.
pub(super) fn prune(kind: Kind, quick: bool) -> Result<Figures> {
    let entries = if quick { 200_000 } else { 2_000_000 };
    let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
    waits(&server, false)?;
    let engine = filled(&server, DATABASE, kind, entries / RUN, entries / RUN / 2)?;
    waits(&server, true)?;
    let before = used(&server)?;
    // Retention has an engine of its own, as a process of its own would.
    let retention = engine_on(&server, DATABASE)?;
    let callers = callers(&engine, 0)?;
    let young: Vec<XComKey> = (entries / 2..entries).map(key).collect();
    let (rest, during, took) = with_upkeep(&engine, || {
        let rest = watched(&engine, &callers, &young, kind, || {
            std::thread::sleep(REST);
            Ok(())
        })?;
        let mut took = 0.0;
        let during = watched(&engine, &callers, &young, kind, || {
            let begin = Instant::now();
            let removed = pollster::block_on(retention.prune())?;
            took = begin.elapsed().as_secs_f64();
            // The rows of the first runs were pushed just now.
            let least = (entries / 2 - 10 * RUN) as u64;
            assert!(removed.entries >= least, "{} of {least} went", removed.entries);
            Ok(())
        })?;
        Ok((rest, during, took))
    })?;
    let after = used(&server)?;
    drop(server);
    let figure = |what: &str, figure| (what.to_owned(), Beside::Figure(figure));
    let mut beside = vec![
        figure("p99 of callers at rest, ms", rest),
        figure("p99 of callers meanwhile, ms", during),
        figure("MB of all tables before", before.0),
        figure("MB of all tables after", after.0),
        figure("rows that wait for vacuum", after.1),
    ];
    let reference = airflow(kind, entries);
    if let Err(why) = &reference {
        beside.push(("`airflow db clean`".to_owned(), Beside::Missing(why.to_string())));
    }
    Ok((vec![(took, reference.ok())], beside))
}

/// Seconds in which Airflow removes half of so many rows.
fn airflow(kind: Kind, entries: usize) -> Result<f64> {
    let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
    let sql = |sql: &str| server.sql(DATABASE, sql).map_err(|error| error.to_string());
    server.sql("postgres", &format!("CREATE DATABASE {DATABASE}")).map_err(|error| error.to_string())?;
    let python = Python::with_airflow()?.on_postgres(&server.url(DATABASE))?;
    let place = Place::new()?;
    let home = place.file("airflow");
    std::fs::create_dir_all(&home)?;
    python.airflow(&home, &["db", "migrate"])?;
    waits(&server, false)?;
    sql("CREATE TABLE sample (n int4 GENERATED ALWAYS AS IDENTITY, value jsonb)")?;
    let mut rows = tempfile::tempfile()?;
    for value in kilobytes(kind, 1000) {
        writeln!(rows, "{}", value.as_str().replace('\\', r"\\"))?;
    }
    rows.rewind()?;
    server.copy(DATABASE, "sample (value)", rows).map_err(|error| error.to_string())?;
    // Without the rows that they belong to, which foreign keys ask for.
    sql(&format!(
        "SET session_replication_role = replica;
         INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)
         SELECT i / {RUN} + 1, 'transform_' || lpad((i % {RUN})::text, 2, '0'), -1, 'return_value', 'weather',
             'scheduled__2026-11-21T' || lpad((i / {RUN})::text, 6, '0'), s.value,
             CASE WHEN i < {entries} / 2 THEN timestamptz '2026-08-01' ELSE '2026-11-01' END
         FROM generate_series(0, {entries} - 1) i JOIN sample s ON s.n = i % 1000 + 1 ORDER BY i"
    ))?;
    sql("VACUUM ANALYZE")?;
    waits(&server, true)?;
    let took = place.file("took");
    let done = python.run(CLEAN).arg(&took).output()?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into());
    }
    assert_eq!(sql("SELECT count(*) FROM xcom")?, (entries - entries / 2).to_string());
    Ok(std::fs::read_to_string(took)?.parse()?)
}

/// Whether commits wait for the disk.
fn waits(server: &Postgres, waits: bool) -> Result<()> {
    let set = if waits { "ALTER SYSTEM RESET fsync" } else { "ALTER SYSTEM SET fsync = off" };
    for sql in [set, "SELECT pg_reload_conf()", "CHECKPOINT"] {
        server.sql("postgres", sql).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Megabytes of all tables and indexes, and rows that are dead.
fn used(server: &Postgres) -> Result<(f64, f64)> {
    let sql = "SELECT sum(pg_total_relation_size(relid)) / 1e6 FROM pg_stat_user_tables";
    let size = server.sql(DATABASE, sql).map_err(|error| error.to_string())?;
    let sql = "SELECT sum(n_dead_tup) FROM pg_stat_user_tables";
    let dead = server.sql(DATABASE, sql).map_err(|error| error.to_string())?;
    Ok((size.parse()?, dead.parse()?))
}

/// The p99 in milliseconds of callers that pull nine times and push once, and so on, while something happens.
fn watched(
    engine: &Engine,
    callers: &[Caller],
    keys: &[XComKey],
    kind: Kind,
    something: impl FnOnce() -> Result<()>,
) -> Result<f64> {
    let values = kilobytes(kind, 100);
    let (over, times) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let (over, times, values) = (&over, &times, &values);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut own = Vec::new();
                    let caller = &callers[thread];
                    while !over.load(Ordering::Relaxed) {
                        let begin = Instant::now();
                        let count = own.len();
                        if count % 10 == 9 {
                            let Caller::Attempt(attempt) = caller else { continue };
                            let key = attempt.ti.xcom(format!("part_{}", count % 1000))?;
                            let value = values[count % values.len()].clone();
                            pollster::block_on(engine.push(caller, &key, value.into()))?;
                        } else {
                            let at = (count * 7919 + thread * 104_729) % keys.len();
                            let keys = std::slice::from_ref(&keys[at]);
                            pollster::block_on(engine.pull(caller, keys, PullOptions::default()))?;
                        }
                        own.push(begin.elapsed().as_secs_f64() * 1e3);
                    }
                    times.lock().expect("no caller panics").append(&mut own);
                    Ok::<_, excom_core::Error>(())
                })
            })
            .collect();
        let happened = something();
        over.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().expect("a caller does not panic"))?;
        happened
    })?;
    let mut times = times.into_inner().expect("no caller panics");
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() * 99 / 100])
}
