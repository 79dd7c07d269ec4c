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
