//! Retention removes half of two million entries while sixteen callers go on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use excom_core::{Caller, Engine, PullOptions, XComKey};
use excom_testkit::postgres::Postgres;

use super::many::{RUN, filled};
use super::traffic::callers;
use super::{Figures, engine_on};
use crate::engine::{Result, THREADS, key, with_upkeep};
use crate::payload::{Kind, kilobytes};
use crate::report::Beside;

const DATABASE: &str = "many";

/// How long callers are watched at rest.
const REST: Duration = Duration::from_secs(5);

/// Seconds that retention takes.
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
    let beside = |what: &str, figure| (what.to_owned(), Beside::Figure(figure));
    Ok((
        vec![(took, None)],
        vec![
            beside("p99 of callers at rest, ms", rest),
            beside("p99 of callers meanwhile, ms", during),
            beside("MB of all tables before", before.0),
            beside("MB of all tables after", after.0),
            beside("rows that wait for vacuum", after.1),
        ],
    ))
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
