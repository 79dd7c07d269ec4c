//! What `COMPATIBILITY.md` says about Airflow's XComs and no other test shows: one test a topic, named by
//! what is true here.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

extern crate excom_flow as excom;

mod citations;
mod lifecycle;
mod mapping;
mod pulls;
mod pushes;
mod returns;
#[allow(dead_code, reason = "the helpers of the other suite, not all of which are needed here")]
#[path = "../flow/support.rs"]
mod support;
mod templates;
mod values;
mod variables;
mod xcomarg;

use std::sync::Arc;

use excom_core::{Caller, Engine, PullOptions, Value, XComKey, memory};

/// Values over so many bytes are stored outside the database by [`offloading`] engines.
const THRESHOLD: u64 = 100;

/// An engine that keeps larger values in a store, and the store.
fn offloading() -> (Engine, Arc<memory::Store>) {
    let store = Arc::new(memory::Store::new());
    let backend = memory::Backend::new(store.clone(), THRESHOLD);
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(backend))
        .build();
    (engine, store)
}

/// An XCom of DAG `d`, run `r`.
fn xcom(task_id: &str, map_index: i32, key: &str) -> XComKey {
    XComKey::new("d", "r", task_id, map_index, key).unwrap()
}

/// Pushes JSON text as it is.
fn push_text(engine: &Engine, key: &XComKey, json: &str) -> excom_core::Result<()> {
    let value = Value::parse(json.to_owned())?;
    pollster::block_on(engine.push(&Caller::user("test"), key, value.into())).map(drop)
}

/// The JSON text of an XCom, if there is one.
fn text_of(engine: &Engine, key: &XComKey) -> Option<String> {
    let keys = std::slice::from_ref(key);
    let answers = pollster::block_on(engine.pull(&Caller::user("test"), keys, PullOptions::default()));
    let answer = answers.unwrap().pop().unwrap();
    answer.found().map(|found| found.value.as_str().to_owned())
}
