//! One-kilobyte values in Redis: a server of the row's own, which syncs every write.
//!
//! The reference uses the client that the store uses, on a runtime that runs in the caller's own thread. What its
//! blocking connection does is beside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use excom_core::engine::{Access, Ledger, Reads, Settings, Writes};
use excom_core::{Caller, Engine, PullOptions, TaskInstanceKey, Value, XComKey};
use excom_store::{OffloadOptions, Redis as Store, RedisOptions};
use excom_testkit::redis::{Program, Redis};
use redis::FromRedisValue;
use rusqlite::{Connection, params_from_iter};
use tokio::runtime::Runtime;

use crate::Place;
use crate::engine::{
    ROUNDS, Result, SELECT, UPSERT, fill, order, our_pull, reader, reference, run_id, upsert,
};
use crate::goals::Goal;
use crate::payload::{Kind, kilobytes};
use crate::report::{Beside, Row};

/// Values of one run.
const ENTRIES: usize = 1000;
/// How many keys a call has where it has many.
const TOGETHER: usize = 100;

/// Measures a row with both payloads; none when it is of another group.
pub(super) fn measure(goal: &Goal) -> Result<Option<Vec<Row>>> {
    let row = match goal.name.as_str() {
        "exclusive-pull-1k-redis" => pull,
        "exclusive-push-1k-redis" => push,
        "pull-100-keys-redis" => pull_together,
        _ => return Ok(None),
    };
    let program = match Program::redis() {
        Ok(program) => program,
        Err(why) => return Ok(Some(vec![Row::missing(goal, why)])),
    };
    Kind::BOTH.into_iter().map(|kind| row(goal, kind, &program)).collect::<Result<_>>().map(Some)
}

/// A server, an engine over it, and the reference's two sides.
struct Sides {
    // The folder goes with the last of them.
    _place: Place,
    // The engine's connections end before their server.
    engine: Engine,
    raw: Connection,
    client: Client,
    server: Redis,
}

/// The client that the store uses.
struct Client {
    connection: redis::aio::MultiplexedConnection,
    runtime: Runtime,
}

impl Client {
    fn query<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T> {
        Ok(self.runtime.block_on(command.query_async(&mut self.connection))?)
    }
}

impl Sides {
    fn start(program: &Program, settings: Settings) -> Result<Self> {
        let place = Place::new()?;
        let server = Redis::start(program, "").map_err(|error| error.to_string())?;
        let store = Store::open(&server.url(), RedisOptions::default())?;
        let everything = OffloadOptions { threshold: 0, ..OffloadOptions::default() };
        let engine = super::open(&place.file("ours"), Arc::new(store), everything, settings)?;
        let raw = reference(&place.file("raw.db"), "normal")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = redis::Client::open(server.url())?;
        let connection = runtime.block_on(client.get_multiplexed_async_connection())?;
        Ok(Self { _place: place, engine, raw, client: Client { connection, runtime }, server })
    }

    /// The same values on both sides.
    fn fill(&mut self, kind: Kind) -> Result<Vec<XComKey>> {
        let keys: Vec<XComKey> = (0..ENTRIES).map(key).collect::<Result<_>>()?;
        let values = kilobytes(kind, ENTRIES);
        fill(&self.engine, &keys, &values)?;
        self.raw.execute_batch("BEGIN")?;
        for (key, value) in keys.iter().zip(&values) {
            let name = name(key);
            let () = self.client.query(redis::cmd("SET").arg(&name).arg(value.as_str()))?;
            upsert(&mut self.raw.prepare_cached(UPSERT)?, key, &placed(&name)?)?;
        }
        self.raw.execute_batch("COMMIT")?;
        Ok(keys)
    }

    fn blocking(&self) -> Result<redis::Connection> {
        Ok(redis::Client::open(self.server.url())?.get_connection()?)
    }

    /// How often each command that reads or writes was called since it was asked last.
    fn calls(&mut self) -> Result<BTreeMap<String, f64>> {
        let info: String = self.client.query(redis::cmd("INFO").arg("commandstats"))?;
        let stats: String = self.client.query(redis::cmd("INFO").arg("stats"))?;
        let () = self.client.query(redis::cmd("CONFIG").arg("RESETSTAT"))?;
        let line = |line: &str| {
            let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((command.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        let all = info.lines().filter_map(line);
        let commands = all.filter(|(command, _)| !command.starts_with("config") && command != "info");
        // What was sent together is read together: a round trip.
        let reads = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:")?.parse().ok());
        let reads = reads.map(|reads: f64| ("times it read from a socket".to_owned(), reads - 2.0));
        Ok(commands.chain(reads).collect())
    }
}

/// What the exclusive mode is: all values in the store, own writes, reads of the own run, noted at once.
fn exclusive() -> Settings {
    let access = Access { writes: Writes::Own, reads: Reads::Run, ..Access::default() };
    Settings {
        access,
        offload: excom_core::engine::Offload::All,
        ledger: Ledger::Strict,
        ..Settings::default()
    }
}

fn key(i: usize) -> Result<XComKey> {
    Ok(TaskInstanceKey::new("weather", run_id(0), format!("transform_{i:04}"), -1)?.return_value())
}

/// Where the reference puts a value.
fn name(key: &XComKey) -> String {
    format!("raw:{}:{}:{}:{}:{}", key.ti.dag_id, key.ti.run_id, key.ti.task_id, key.ti.map_index, key.key)
}

/// What the reference's row has instead of the value.
fn placed(name: &str) -> Result<Value> {
    Ok(Value::of(name)?)
}

fn name_of(placed: &str) -> &str {
    placed.trim_matches('"')
}

/// Microseconds a read: the row, and then the value that it names.
fn raw_pull(
    connection: &Connection,
    keys: &[XComKey],
    order: &[usize],
    mut get: impl FnMut(&redis::Cmd) -> Result<Vec<u8>>,
) -> Result<f64> {
    let mut statement = connection.prepare_cached(SELECT)?;
    let begin = Instant::now();
    let mut bytes = 0;
    for &i in order {
        let ti = &keys[i].ti;
        let row: (String, i64, i64, i64, i32) = statement
            .query_row((&*ti.dag_id, &*ti.run_id, &*ti.task_id, ti.map_index, &*keys[i].key), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })?;
        bytes += get(redis::cmd("GET").arg(name_of(&row.0)))?.len();
    }
    assert!(bytes >= order.len() * 1000);
    Ok(begin.elapsed().as_secs_f64() * 1e6 / order.len() as f64)
}

fn pull(goal: &Goal, kind: Kind, program: &Program) -> Result<Row> {
    let mut sides = Sides::start(program, exclusive())?;
    let keys = sides.fill(kind)?;
    let caller = reader(&sides.engine)?;
    let order = order(ENTRIES, 3000);
    our_pull(&sides.engine, &caller, &keys, &order)?;
    let (mut rounds, mut blocking) = (Vec::new(), Vec::new());
    let mut connection = sides.blocking()?;
    for _ in 0..ROUNDS {
        let ours = our_pull(&sides.engine, &caller, &keys, &order)?;
        let raw = raw_pull(&sides.raw, &keys, &order, |get| sides.client.query(get))?;
        rounds.push((ours, Some(raw)));
        blocking.push(raw_pull(&sides.raw, &keys, &order, |get| Ok(get.query(&mut connection)?))?);
    }
    Ok(Row::new(goal, kind.name(), "us", rounds, time)
        .beside(least("us with the blocking connection", &blocking)))
}

/// Microseconds a write: the value, and then the row that names it.
fn raw_push(
    connection: &Connection,
    keys: &[XComKey],
    values: &[Value],
    mut set: impl FnMut(&redis::Cmd) -> Result<()>,
) -> Result<f64> {
    let mut statement = connection.prepare_cached(UPSERT)?;
    let begin = Instant::now();
    for (key, value) in keys.iter().zip(values) {
        let name = name(key);
        set(redis::cmd("SET").arg(&name).arg(value.as_str()))?;
        upsert(&mut statement, key, &placed(&name)?)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / keys.len() as f64)
}

fn push(goal: &Goal, kind: Kind, program: &Program) -> Result<Row> {
    const EACH: usize = 300;
    let mut sides = Sides::start(program, exclusive())?;
    let ti = key(0)?.ti;
    let caller = Caller::Attempt(pollster::block_on(sides.engine.start(&ti, 1))?);
    let values = kilobytes(kind, EACH);
    let (mut rounds, mut blocking) = (Vec::new(), Vec::new());
    let mut connection = sides.blocking()?;
    // The first round connects and is not counted.
    for round in 0..=ROUNDS {
        let keys: Vec<XComKey> =
            (0..EACH).map(|i| ti.xcom(format!("part_{round}_{i}"))).collect::<std::result::Result<_, _>>()?;
        let begin = Instant::now();
        for (key, value) in keys.iter().zip(&values) {
            pollster::block_on(sides.engine.push(&caller, key, value.clone().into()))?;
        }
        let ours = begin.elapsed().as_secs_f64() * 1e6 / EACH as f64;
        let raw = raw_push(&sides.raw, &keys, &values, |set| sides.client.query(set))?;
        let alone = raw_push(&sides.raw, &keys, &values, |set| Ok(set.query(&mut connection)?))?;
        if round > 0 {
            rounds.push((ours, Some(raw)));
            blocking.push(alone);
        }
    }
    Ok(Row::new(goal, kind.name(), "us", rounds, time)
        .beside(least("us with the blocking connection", &blocking)))
}

fn pull_together(goal: &Goal, kind: Kind, program: &Program) -> Result<Row> {
    const CALLS: usize = 300;
    let mut sides = Sides::start(program, Settings::default())?;
    let keys = sides.fill(kind)?;
    let caller = reader(&sides.engine)?;
    let calls: Vec<Vec<XComKey>> = (0..CALLS)
        .map(|call| (0..TOGETHER).map(|i| keys[(call * 37 + i * 7) % ENTRIES].clone()).collect())
        .collect();
    let ours = |engine: &Engine| -> Result<f64> {
        let begin = Instant::now();
        for keys in &calls {
            let answers = pollster::block_on(engine.pull(&caller, keys, PullOptions::default()))?;
            for answer in answers {
                let found = answer.found().ok_or("a pushed value is missing")?;
                assert!(found.value.size() >= 1000);
            }
        }
        Ok(begin.elapsed().as_secs_f64() * 1e6 / CALLS as f64)
    };
    ours(&sides.engine)?;
    let mut rounds = Vec::new();
    let mut counted = BTreeMap::<String, f64>::new();
    for _ in 0..ROUNDS {
        sides.calls()?;
        let ours = ours(&sides.engine)?;
        for (command, count) in sides.calls()? {
            *counted.entry(command).or_default() += count / (CALLS * ROUNDS) as f64;
        }
        let raw = raw_pull_together(&sides.raw, &calls, &mut sides.client)?;
        rounds.push((ours, Some(raw)));
    }
    let row = Row::new(goal, kind.name(), "us", rounds, time);
    let told = |(command, count)| (format!("{command} a call, counted by the server"), Beside::Figure(count));
    Ok(row.beside(counted.into_iter().map(told).collect()))
}

/// Microseconds for all keys of a call: their rows, and then the values that they name.
fn raw_pull_together(connection: &Connection, calls: &[Vec<XComKey>], client: &mut Client) -> Result<f64> {
    let tasks = vec!["?"; TOGETHER].join(", ");
    let mut statement = connection.prepare(&format!(
        "SELECT value, size, timestamp, hash, task_id FROM xcom
         WHERE dag_id = ? AND run_id = ? AND map_index = -1 AND key = ? AND task_id IN ({tasks})"
    ))?;
    let begin = Instant::now();
    for keys in calls {
        let first = &keys[0];
        let same = [&*first.ti.dag_id, &*first.ti.run_id, &*first.key];
        let bound = params_from_iter(same.into_iter().chain(keys.iter().map(|key| &*key.ti.task_id)));
        let mut command = redis::cmd("MGET");
        let mut rows = statement.query(bound)?;
        while let Some(row) = rows.next()? {
            let (placed, ..): (String, i64, i64, i64, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            command.arg(name_of(&placed));
        }
        let values: Vec<Vec<u8>> = client.query(&command)?;
        assert!(values.len() == TOGETHER && values.iter().all(|value| value.len() >= 1000));
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / calls.len() as f64)
}

fn time(ours: f64, reference: Option<f64>) -> f64 {
    ours / reference.unwrap_or(1.0)
}

fn least(what: &str, times: &[f64]) -> Vec<(String, Beside)> {
    let least = times.iter().copied().fold(f64::MAX, f64::min);
    vec![(format!("least {what}"), Beside::Figure(least))]
}
