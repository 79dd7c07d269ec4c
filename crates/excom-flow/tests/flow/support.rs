//! An engine in memory, and what tests ask of it.

use std::future::Future;
use std::sync::Arc;

use excom_core::{Caller, Engine, PullOptions, TaskInstanceKey, TaskState, XComKey, memory};
use excom_flow::{DagDefinition, RunOptions, RunReport, Runner, TaskInstance};

/// An engine over an empty database in memory.
pub(crate) fn engine() -> Engine {
    Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build()
}

/// Runs a future on a runtime as programs have it.
pub(crate) fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Runs a DAG under the run id `r`.
pub(crate) fn run(engine: &Engine, definition: &DagDefinition) -> RunReport {
    run_with(&Runner::new(engine.clone()), definition, RunOptions::new())
}

pub(crate) fn run_with(runner: &Runner, definition: &DagDefinition, options: RunOptions) -> RunReport {
    on_runtime(runner.run(definition, options.run_id("r"))).unwrap()
}

/// What a task of run `r` pushed under a key, as JSON text.
pub(crate) fn pushed(engine: &Engine, dag_id: &str, task_id: &str, key: &str) -> Option<String> {
    let key = XComKey::new(dag_id, "r", task_id, -1, key).unwrap();
    let answers = pollster::block_on(engine.pull(&Caller::user("test"), &[key], PullOptions::default()));
    let answer = answers.unwrap().pop().unwrap();
    answer.found().map(|found| found.value.as_str().to_owned())
}

/// A field of a task of run `r`, as it is kept for others to see.
pub(crate) fn field(engine: &Engine, dag_id: &str, task_id: &str, name: &str) -> String {
    let key = TaskInstanceKey::new(dag_id, "r", task_id, -1).unwrap();
    let rendered = pollster::block_on(engine.rendered(&Caller::user("test"), &key)).unwrap().unwrap();
    let (_, value) = rendered.fields.iter().find(|(known, _)| known == name).unwrap();
    value.as_str().to_owned()
}

/// The state of a task of run `r`, as the engine knows it.
pub(crate) fn state(engine: &Engine, dag_id: &str, task_id: &str) -> Option<TaskState> {
    let key = TaskInstanceKey::new(dag_id, "r", task_id, -1).unwrap();
    pollster::block_on(engine.task_instance(&key)).unwrap().map(|info| info.state)
}

/// A started task instance of DAG `d`.
pub(crate) fn started(engine: &Engine, run_id: &str, task_id: &str, map_index: i32) -> TaskInstance {
    let key = TaskInstanceKey::new("d", run_id, task_id, map_index).unwrap();
    let attempt = pollster::block_on(engine.start(&key, 1)).unwrap();
    TaskInstance::new(Arc::new(engine.channel(attempt)), key)
}

/// What the instances of a task of run `r` returned, as JSON text with map indexes.
pub(crate) fn values(engine: &Engine, dag_id: &str, task_id: &str) -> Vec<(i32, String)> {
    let filter = excom_core::db::Filter {
        dag_id: Some(dag_id.into()),
        run_id: Some("r".into()),
        task_id: Some(task_id.into()),
        key: Some("return_value".into()),
        ..Default::default()
    };
    let caller = Caller::user("test");
    let page = pollster::block_on(engine.list(&caller, &filter, None, 1000)).unwrap();
    let keys: Vec<XComKey> = page.items.into_iter().map(|info| info.key).collect();
    let answers = pollster::block_on(engine.pull(&caller, &keys, PullOptions::default())).unwrap();
    let text = |(key, answer): (&XComKey, excom_core::Answer)| {
        (key.ti.map_index, answer.value().unwrap().as_str().to_owned())
    };
    keys.iter().zip(answers).map(text).collect()
}

/// The same, without map indexes.
pub(crate) fn texts(engine: &Engine, dag_id: &str, task_id: &str) -> Vec<String> {
    values(engine, dag_id, task_id).into_iter().map(|(_, text)| text).collect()
}

/// The states of the instances of a task of run `r`; what stood for them before they were known is left out.
pub(crate) fn states(engine: &Engine, dag_id: &str, task_id: &str) -> Vec<(i32, TaskState)> {
    let page = pollster::block_on(engine.db().task_instances(dag_id, "r", None, 10_000)).unwrap();
    page.into_iter()
        .filter(|info| &*info.key.task_id == task_id)
        .filter(|info| info.key.map_index >= 0 || info.state != TaskState::Removed)
        .map(|info| (info.key.map_index, info.state))
        .collect()
}
