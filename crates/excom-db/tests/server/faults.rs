//! What scenarios of failures share: they push and pull on a server that may be treated roughly, which each program of
//! tests has as [`Alone`](crate::alone::Alone), whether the database is Excom's own or an Airflow's.

use excom_core::{Caller, Engine, PullOptions, Result, Value, XComKey};

/// The XCom of a task.
pub(crate) fn key(task: &str) -> XComKey {
    XComKey::new("d", "r", task, -1, "k").unwrap()
}

pub(crate) fn push(engine: &Engine, key: &XComKey, value: u64) -> Result<()> {
    let value = Value::of(&value).unwrap();
    pollster::block_on(engine.push(&Caller::user("test"), key, value.into())).map(drop)
}

/// The value of an XCom.
pub(crate) fn pulled(engine: &Engine, key: &XComKey) -> Result<Value> {
    let keys = std::slice::from_ref(key);
    let answers = pollster::block_on(engine.pull(&Caller::user("test"), keys, PullOptions::default()))?;
    answers.into_iter().next().unwrap().value()
}

/// All numbers that an XCom has or had, in their order.
pub(crate) fn all(engine: &Engine, key: &XComKey) -> Vec<u64> {
    let past = pollster::block_on(engine.db().history(key, u32::MAX)).unwrap();
    let mut numbers: Vec<u64> = past.iter().map(|past| past.info.preview.parse().unwrap()).collect();
    numbers.push(pulled(engine, key).unwrap().get().unwrap());
    numbers.sort_unstable();
    numbers
}
