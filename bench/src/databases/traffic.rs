//! Sixteen callers that pull, and that push, beside sixteen clients of pgbench.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use excom_core::{Caller, Engine, PullOptions, TaskInstanceKey, XComKey};
use excom_testkit::postgres::Postgres;

use super::{DATABASE, open};
use crate::engine::{ROUNDS, Result, Rounds, THREADS, fill, key, order, run_id, with_upkeep};
use crate::payload::{Kind, kilobytes};

/// How long a round lasts on each side.
pub(crate) fn round(quick: bool) -> Duration {
    Duration::from_secs(if quick { 1 } else { 3 })
}

/// Entries that are pulled: each caller is a task of a run and reads the hundred values of that.
pub(crate) const ENTRIES: usize = 100 * THREADS;

/// How many keys a task pushes, before it pushes to the first again. Their names are known, as those of tasks that have
/// run before are.
const KEYS: usize = 1000;

/// The statement by which an engine reads one entry, with the names of [`key`].
pub(crate) const PULL: &str = r"\set run random(0, 15)
\set task random(0, 99)
SELECT e.version, e.number, e.writer, e.size, e.hash, e.shape, e.head, e.codec, e.body FROM excom.entry e
WHERE e.run = (SELECT r.id FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id
               WHERE d.text = 'weather' AND r.run_id = 'scheduled__2026-11-21T' || lpad((:run)::text, 6, '0'))
AND e.task = (SELECT id FROM excom.name WHERE text = 'transform_' || lpad((:task)::text, 2, '0'))
AND e.map_index = -1 AND e.key = (SELECT id FROM excom.name WHERE text = 'return_value');
";

const TABLE: &str = "CREATE TABLE xcom (
    dag_id text, run_id text, task_id text, map_index int4, key text, value text, size int8, timestamp int8, hash int8,
    PRIMARY KEY (dag_id, run_id, task_id, map_index, key))";

/// As [`push`] does: each client has a run of its own and pushes one key after the other.
const PUSH: &str = r"\set part :part + 1
INSERT INTO xcom VALUES ('weather', 'scheduled__2026-11-21T' || lpad((:client_id)::text, 6, '0'), 'report', -1,
                         'part_' || :part, :value, 1024, 1795255200000, 7)
ON CONFLICT (dag_id, run_id, task_id, map_index, key) DO UPDATE SET value = excluded.value, size = excluded.size,
    timestamp = excluded.timestamp, hash = excluded.hash;
";

/// How often in a second sixteen callers do something one after the other; each has its number.
pub(crate) fn rate(lasting: Duration, act: impl Fn(usize, usize) -> Result<()> + Sync) -> Result<f64> {
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let (act, over, done) = (&act, &over, &done);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut count = 0;
                    while !over.load(Ordering::Relaxed) {
                        act(thread, count).map_err(|error| error.to_string())?;
                        count += 1;
                    }
                    done.fetch_add(count, Ordering::Relaxed);
                    Ok::<_, String>(())
                })
            })
            .collect();
        std::thread::sleep(lasting);
        over.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().expect("a caller does not panic"))
    })?;
    Ok(done.into_inner() as f64 / begin.elapsed().as_secs_f64())
}

/// An attempt for each caller, in a run of its own from the one given on.
pub(super) fn callers(engine: &Engine, first: usize) -> Result<Vec<Caller>> {
    let start = |thread| {
        let ti = TaskInstanceKey::new("weather", run_id(first + thread), "report", -1)?;
        Ok(Caller::Attempt(pollster::block_on(engine.start(&ti, 1))?))
    };
    (0..THREADS).map(start).collect()
}

/// Pulls in a second.
pub(super) fn pull(kind: Kind, quick: bool) -> Result<Rounds> {
    let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
    let engine = open(&server)?;
    let keys: Vec<XComKey> = (0..ENTRIES).map(key).collect();
    fill(&engine, &keys, &kilobytes(kind, ENTRIES))?;
    let callers = callers(&engine, 0)?;
    let order = order(100, 10_000);
    let ours = || {
        rate(round(quick), |thread, count| {
            let key = thread * 100 + order[(thread * 607 + count) % order.len()];
            let keys = std::slice::from_ref(&keys[key]);
            let answers = pollster::block_on(engine.pull(&callers[thread], keys, PullOptions::default()))?;
            assert!(answers[0].found().ok_or("a pushed value is missing")?.value.size() >= 1000);
            Ok(())
        })
    };
    let reference = || server.pgbench(DATABASE, PULL, &[], THREADS, round(quick).as_secs() as u32);
    with_upkeep(&engine, || {
        ours()?;
        (0..ROUNDS).map(|_| Ok((ours()?, Some(reference().map_err(|error| error.to_string())?)))).collect()
    })
}

/// Pushes in a second.
pub(super) fn push(kind: Kind, quick: bool) -> Result<Rounds> {
    let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
    let engine = open(&server)?;
    let values = kilobytes(kind, 1000);
    server.sql(DATABASE, TABLE).map_err(|error| error.to_string())?;
    let ours = |number: usize| {
        let callers = callers(&engine, number * THREADS)?;
        rate(round(quick), |thread, count| {
            let Caller::Attempt(attempt) = &callers[thread] else { return Err("not an attempt".into()) };
            let key = attempt.ti.xcom(format!("part_{}", count % KEYS))?;
            let value = values[(thread * 61 + count) % values.len()].clone();
            pollster::block_on(engine.push(&callers[thread], &key, value.into()))?;
            Ok(())
        })
    };
    let reference = |number: usize| {
        let (part, value) = (format!("{}", number * 1_000_000), values[number].as_str());
        server.pgbench(
            DATABASE,
            PUSH,
            &[("part", &part), ("value", value)],
            THREADS,
            round(quick).as_secs() as u32,
        )
    };
    for part in 0..KEYS {
        let key = key(0).ti.xcom(format!("part_{part}"))?;
        pollster::block_on(engine.push(&Caller::user("bench"), &key, values[0].clone().into()))?;
    }
    with_upkeep(&engine, || {
        ours(0)?;
        let round = |number| Ok((ours(number)?, Some(reference(number).map_err(|error| error.to_string())?)));
        (1..=ROUNDS).map(round).collect()
    })
}
