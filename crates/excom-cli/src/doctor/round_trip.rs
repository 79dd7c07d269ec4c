//! The doctor's own values: pushed, pulled, compared and deleted again, in each place where values live.

use std::time::{Duration, Instant};

use excom::config::{DatabaseMode, Settings};
use excom::core::db::Scope;
use excom::core::engine::Offload;
use excom::{Answer, Caller, Engine, Error, ErrorKind, PullOptions, Result, TaskInstanceKey, Value, XComKey};
use serde_json::json;

use super::Check;

/// The DAG id that is the doctor's alone.
const DAG_ID: &str = "excom__doctor";

/// A stored value larger than this would prove no more and take longer.
const LARGEST: u64 = 8 << 20;

/// How long each step took.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    push: Duration,
    pull: Duration,
    purge: Duration,
}

/// A value in the database, and one in the store where there is room between the limits.
pub(super) async fn run(engine: &Engine, settings: &Settings, checks: &mut Vec<Check>) {
    if *settings.database.mode == DatabaseMode::Attached {
        let told = "not made: an XCom in Airflow's database needs a task instance of Airflow's";
        return checks.push(Check::told("round trip", told, json!({"made": false})));
    }
    let (over, store) = (engine.backend().inline_limit() + 1, engine.backend().store());
    let large = store.is_some() && over <= LARGEST.min(settings.xcom.hard_limit.0);
    let inline = *settings.xcom.offload == Offload::Threshold;
    let places =
        [("database", inline.then_some(32)), (store.unwrap_or("none"), large.then_some(over.max(3)))];
    for (place, size) in places {
        let Some(size) = size else { continue };
        checks.push(match round_trip(engine, place, size).await {
            Ok(times) => Check::fine(
                "round trip",
                format!(
                    "{place}: push {}, pull {}, purge {}",
                    ms(times.push),
                    ms(times.pull),
                    ms(times.purge)
                ),
                json!({
                    "place": place,
                    "push_ms": times.push.as_secs_f64() * 1e3,
                    "pull_ms": times.pull.as_secs_f64() * 1e3,
                    "purge_ms": times.purge.as_secs_f64() * 1e3,
                }),
            ),
            Err(error) => Check::failed("round trip", place, &error),
        });
    }
}

async fn round_trip(engine: &Engine, place: &str, size: u64) -> Result<Times> {
    let caller = Caller::System("doctor");
    // A run of its own, so that two doctors at once do not meet.
    let run = engine.clock().version().to_string();
    let ti = TaskInstanceKey::new(DAG_ID, run, place, excom::UNMAPPED)?;
    let outcome = push_and_pull(engine, &caller, &ti.return_value(), size).await;
    // A note of the read that came after the delete would outlive it.
    let start = Instant::now();
    let removed = async {
        engine.flush_reads().await?;
        engine.delete(&caller, &Scope::TaskInstance(ti.clone())).await
    };
    let removed = removed.await;
    let times = outcome?;
    removed?;
    let purge = start.elapsed();
    match engine.pull(&caller, &[ti.return_value()], PullOptions::default()).await?.pop() {
        Some(Answer::Found(_)) => Err(wrong("what was deleted is still there")),
        _ => Ok(Times { purge, ..times }),
    }
}

async fn push_and_pull(engine: &Engine, caller: &Caller, key: &XComKey, size: u64) -> Result<Times> {
    let padding = usize::try_from(size.saturating_sub(2)).unwrap_or(0);
    let value = Value::of(&"x".repeat(padding))?;
    let start = Instant::now();
    engine.push(caller, key, value.clone().into()).await?;
    let push = start.elapsed();
    let start = Instant::now();
    let answer = engine.pull(caller, std::slice::from_ref(key), PullOptions::default()).await?.pop();
    let pull = start.elapsed();
    match answer.map(Answer::value).transpose()? {
        Some(found) if found == value => Ok(Times { push, pull, purge: Duration::ZERO }),
        _ => Err(wrong("what was pulled is not what was pushed")),
    }
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, what).hint("check the disk and the file system that the home is on")
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
