//! The group `engine`: in process, embedded SQLite, defaults.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use excom_core::seal::SealKeys;
use excom_core::{Caller, Engine, PullOptions, TaskInstanceKey, Value, XComKey};
use excom_db::sqlite::{Db, Durability, Options};
use excom_store::{Files, Offload, OffloadOptions};
use rusqlite::Connection;

use crate::Place;
use crate::goals::Goal;
use crate::payload::{Kind, kilobytes};
use crate::report::Row;
use crate::system::SystemClock;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
pub(crate) type Rounds = Vec<(f64, Option<f64>)>;

pub(crate) const ROUNDS: usize = 5;
pub(crate) const THREADS: usize = 16;

/// Measures a row of this group with both payloads; none when it is of another group.
pub(crate) fn measure(goal: &Goal) -> Result<Option<Vec<Row>>> {
    let mut rows = Vec::new();
    for kind in Kind::BOTH {
        let time = |ours: f64, reference: Option<f64>| ours / reference.unwrap_or(1.0);
        let row = match goal.name.as_str() {
            "pull-1k" => Row::new(goal, kind.name(), "us", pull(kind)?, time),
            "push-1k-16-threads" => {
                Row::new(goal, kind.name(), "/s", push(kind, Durability::Normal, 4000)?, time)
            }
            "push-1k-16-threads-power-safe" => {
                Row::new(goal, kind.name(), "/s", push(kind, Durability::Full, 1000)?, time)
            }
            "overhead-per-entry" => Row::new(goal, kind.name(), "bytes", overhead(kind)?, |ours, _| ours),
            "flat-pull" => Row::new(goal, kind.name(), "us", flat(kind)?, time),
            _ => return Ok(None),
        };
        rows.push(row);
    }
    Ok(Some(rows))
}

/// The engine as the embedded mode opens it.
fn open(folder: &Path, durability: Durability) -> Result<Engine> {
    std::fs::create_dir_all(folder)?;
    let db = Db::open(&folder.join("excom.db"), Options { durability, ..Options::default() })?;
    let keys = SealKeys::new("k1", [1; 32]);
    let store = Arc::new(Files::open(&folder.join("values"))?);
    let backend = Offload::new(store, keys.clone(), OffloadOptions::default());
    Ok(Engine::builder(Arc::new(db), Arc::new(SystemClock)).backend(Arc::new(backend)).keys(keys).build())
}

pub(crate) fn run_id(run: usize) -> String {
    format!("scheduled__2026-11-21T{run:06}")
}

/// A hundred tasks a run, each with one return value.
pub(crate) fn key(i: usize) -> XComKey {
    let task = format!("transform_{:02}", i % 100);
    TaskInstanceKey::new("weather", run_id(i / 100), task, -1).expect("valid names").return_value()
}

/// Every task instance starts an attempt, pushes and ends, sixteen at a time.
pub(crate) fn fill(engine: &Engine, keys: &[XComKey], values: &[Value]) -> Result<()> {
    let work = keys.len().div_ceil(THREADS);
    std::thread::scope(|scope| {
        let tasks: Vec<_> = keys
            .chunks(work)
            .enumerate()
            .map(|(chunk, keys)| {
                scope.spawn(move || {
                    for (i, key) in keys.iter().enumerate() {
                        let value = values[(chunk * work + i) % values.len()].clone();
                        pollster::block_on(async {
                            let attempt = engine.start(&key.ti, 1).await?;
                            let caller = Caller::Attempt(attempt.clone());
                            engine.push(&caller, key, value.into()).await?;
                            engine.set_attempt_state(&attempt, excom_core::TaskState::Success).await
                        })?;
                    }
                    Ok::<_, excom_core::Error>(())
                })
            })
            .collect();
        tasks.into_iter().try_for_each(|task| task.join().expect("a worker does not panic"))
    })?;
    Ok(())
}

/// An order that visits entries all over, the same for both.
pub(crate) fn order(count: usize, reads: usize) -> Vec<usize> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..reads)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % count
        })
        .collect()
}

/// The raw driver's table with the same rows.
pub(crate) fn reference(path: &Path, synchronous: &str) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(60))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS xcom (
             dag_id TEXT NOT NULL, run_id TEXT NOT NULL, task_id TEXT NOT NULL,
             map_index INTEGER NOT NULL, key TEXT NOT NULL,
             value TEXT NOT NULL, size INTEGER NOT NULL, timestamp INTEGER NOT NULL, hash INTEGER NOT NULL,
             PRIMARY KEY (dag_id, run_id, task_id, map_index, key))",
    )?;
    Ok(connection)
}

pub(crate) const SELECT: &str = "SELECT value, size, timestamp, hash, map_index FROM xcom
    WHERE dag_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index = ?4 AND key = ?5";

pub(crate) const UPSERT: &str = "INSERT INTO xcom VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET value = excluded.value, size = excluded.size,
        timestamp = excluded.timestamp, hash = excluded.hash";

pub(crate) fn upsert(
    statement: &mut rusqlite::CachedStatement<'_>,
    key: &XComKey,
    value: &Value,
) -> rusqlite::Result<usize> {
    statement.execute((
        &*key.ti.dag_id,
        &*key.ti.run_id,
        &*key.ti.task_id,
        key.ti.map_index,
        &*key.key,
        value.as_str(),
        value.size() as i64,
        1_795_255_200_000_i64,
        7_i64,
    ))
}

fn raw_pull(connection: &Connection, keys: &[XComKey], order: &[usize]) -> Result<f64> {
    let mut statement = connection.prepare_cached(SELECT)?;
    let begin = Instant::now();
    let mut bytes = 0;
    for &i in order {
        let key = &keys[i];
        let row: (String, i64, i64, i64, i32) = statement.query_row(
            (&*key.ti.dag_id, &*key.ti.run_id, &*key.ti.task_id, key.ti.map_index, &*key.key),
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )?;
        bytes += row.0.len();
    }
    assert!(bytes >= order.len() * 1000);
    Ok(begin.elapsed().as_secs_f64() * 1e6 / order.len() as f64)
}

pub(crate) fn our_pull(engine: &Engine, caller: &Caller, keys: &[XComKey], order: &[usize]) -> Result<f64> {
    let begin = Instant::now();
    let mut bytes = 0;
    for &i in order {
        let key = std::slice::from_ref(&keys[i]);
        let answers = pollster::block_on(engine.pull(caller, key, PullOptions::default()))?;
        bytes += answers[0].found().ok_or("a pushed value is missing")?.value.size() as usize;
    }
    assert!(bytes >= order.len() * 1000);
    Ok(begin.elapsed().as_secs_f64() * 1e6 / order.len() as f64)
}

/// Drives the engine's background work on a thread of its own, as the embedded runner does, until the
/// measurement is over.
pub(crate) fn with_upkeep<T>(engine: &Engine, measure: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let upkeep = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                pollster::block_on(engine.flush_reads())?;
                for _ in 0..20 {
                    if !over.load(Ordering::Relaxed) {
                        std::thread::sleep(std::time::Duration::from_millis(50));
                    }
                }
            }
            Ok::<_, excom_core::Error>(())
        });
        let measured = measure();
        over.store(true, Ordering::Relaxed);
        upkeep.join().expect("upkeep does not panic")?;
        measured
    })
}

pub(crate) fn reader(engine: &Engine) -> Result<Caller> {
    let ti = TaskInstanceKey::new("weather", run_id(0), "report", -1)?;
    Ok(Caller::Attempt(pollster::block_on(engine.start(&ti, 1))?))
}

fn pull(kind: Kind) -> Result<Rounds> {
    const ENTRIES: usize = 10_000;
    let place = Place::new()?;
    let values = kilobytes(kind, ENTRIES);
    let keys: Vec<XComKey> = (0..ENTRIES).map(key).collect();
    let engine = open(&place.file("ours"), Durability::Normal)?;
    fill(&engine, &keys, &values)?;
    let raw = reference(&place.file("raw.db"), "normal")?;
    raw.execute_batch("BEGIN")?;
    for (key, value) in keys.iter().zip(&values) {
        upsert(&mut raw.prepare_cached(UPSERT)?, key, value)?;
    }
    raw.execute_batch("COMMIT")?;
    let caller = reader(&engine)?;
    let order = order(ENTRIES, 100_000);
    let mut rounds = Vec::new();
    our_pull(&engine, &caller, &keys, &order)?;
    raw_pull(&raw, &keys, &order)?;
    with_upkeep(&engine, || {
        for _ in 0..ROUNDS {
            let ours = our_pull(&engine, &caller, &keys, &order)?;
            let raw = raw_pull(&raw, &keys, &order)?;
            rounds.push((ours, Some(raw)));
        }
        Ok(rounds)
    })
}

fn push(kind: Kind, durability: Durability, each: usize) -> Result<Rounds> {
    let values = kilobytes(kind, 1000);
    let synchronous = if durability == Durability::Full { "full" } else { "normal" };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let place = Place::new()?;
        let engine = open(&place.file("ours"), durability)?;
        let callers: Vec<Caller> = (0..THREADS)
            .map(|i| {
                let attempt = pollster::block_on(engine.start(&key(i).ti, 1))?;
                Ok(Caller::Attempt(attempt))
            })
            .collect::<Result<_>>()?;
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = callers
                .iter()
                .enumerate()
                .map(|(thread, caller)| {
                    let (engine, values) = (&engine, &values);
                    scope.spawn(move || {
                        for i in 0..each {
                            let key = key(thread).ti.xcom(format!("part_{i}"))?;
                            let value = values[(thread * each + i) % values.len()].clone();
                            pollster::block_on(engine.push(caller, &key, value.into()))?;
                        }
                        Ok::<_, excom_core::Error>(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a pusher does not panic"))
        })?;
        let ours = (THREADS * each) as f64 / begin.elapsed().as_secs_f64();

        let path = place.file("raw.db");
        drop(reference(&path, synchronous)?);
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (path, values) = (&path, &values);
                    scope.spawn(move || {
                        let connection = reference(path, synchronous).map_err(|e| e.to_string())?;
                        let mut statement = connection.prepare_cached(UPSERT).map_err(|e| e.to_string())?;
                        for i in 0..each {
                            let key = key(thread).ti.xcom(format!("part_{i}")).map_err(|e| e.to_string())?;
                            let value = &values[(thread * each + i) % values.len()];
                            upsert(&mut statement, &key, value).map_err(|e| e.to_string())?;
                        }
                        Ok::<_, String>(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a pusher does not panic"))
        })?;
        rounds.push((ours, Some((THREADS * each) as f64 / begin.elapsed().as_secs_f64())));
    }
    Ok(rounds)
}

/// Bytes of all files for an entry, less its payload under zstd -3 alone. Each entry has a task
/// instance and an attempt of its own, and one reader in the ledger.
fn overhead(kind: Kind) -> Result<Rounds> {
    const ENTRIES: usize = 100_000;
    let place = Place::new()?;
    let values = kilobytes(kind, ENTRIES);
    let keys: Vec<XComKey> = (0..ENTRIES).map(key).collect();
    let folder = place.file("ours");
    let engine = open(&folder, Durability::Normal)?;
    fill(&engine, &keys, &values)?;
    pollster::block_on(engine.close())?;
    drop(engine);
    let mut size = 0;
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            size += entry.metadata()?.len();
        }
    }
    let mut payload = 0;
    for value in &values {
        payload += zstd::bulk::compress(value.bytes(), 3)?.len() as u64;
    }
    Ok(vec![((size as f64 - payload as f64) / ENTRIES as f64, None)])
}

/// The same pulls with a thousand entries and with a million.
fn flat(kind: Kind) -> Result<Rounds> {
    const MANY: usize = 1_000_000;
    const FEW: usize = 1_000;
    let place = Place::new()?;
    let values = kilobytes(kind, 10_000);
    let few_keys: Vec<XComKey> = (0..FEW).map(key).collect();
    let many_keys: Vec<XComKey> = (0..MANY).map(key).collect();
    let few = open(&place.file("few"), Durability::Normal)?;
    let many = open(&place.file("many"), Durability::Normal)?;
    fill(&few, &few_keys, &values)?;
    fill(&many, &many_keys, &values)?;
    let (few_reader, many_reader) = (reader(&few)?, reader(&many)?);
    // As many distinct entries are read from both, so that cache and ledger have the same to do, and only
    // the database differs. From the large one they are drawn all over it.
    let picked: Vec<XComKey> = order(MANY, FEW).into_iter().map(|i| many_keys[i].clone()).collect();
    let order = order(FEW, 100_000);
    our_pull(&few, &few_reader, &few_keys, &order)?;
    our_pull(&many, &many_reader, &picked, &order)?;
    let mut rounds = Vec::new();
    with_upkeep(&few, || {
        with_upkeep(&many, || {
            for _ in 0..ROUNDS {
                let few = our_pull(&few, &few_reader, &few_keys, &order)?;
                let many = our_pull(&many, &many_reader, &picked, &order)?;
                rounds.push((many, Some(few)));
            }
            Ok(rounds)
        })
    })
}
