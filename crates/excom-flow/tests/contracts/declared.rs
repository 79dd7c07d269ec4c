//! `[xcom] reads = "declared"` with real runs: what a DAG declares is what its tasks may pull.

use std::sync::Arc;

use excom::prelude::*;
use excom::{DagDefinition, RunOptions, RunReport, Runner};
use excom_core::engine::{Access, Ledger, Offload, Reads, Settings, Writes};
use excom_core::{Engine, ErrorKind, TaskState, memory};

fn run(definition: &DagDefinition) -> RunReport {
    let access = Access { reads: Reads::Declared, writes: Writes::Own, ..Access::default() };
    let settings = Settings { access, ledger: Ledger::Strict, offload: Offload::All, ..Settings::default() };
    let backend = memory::Backend::new(Arc::new(memory::Store::new()), 64);
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(backend))
        .settings(settings)
        .build();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Runner::new(engine).run(definition, RunOptions::new().run_id("r"))).unwrap()
}

#[task]
fn numbers() -> Vec<u64> {
    vec![1, 2, 3]
}

#[task]
fn double(number: u64) -> u64 {
    2 * number
}

#[task]
fn add(number: u64, other: u64) -> u64 {
    number + other
}

#[task]
fn sum(all: Vec<u64>) -> u64 {
    all.into_iter().sum()
}

/// Mapped tasks and groups, an element that is taken further inside of its group, a template behind its task.
#[dag]
fn declared(dag: &Dag) {
    let numbers = numbers(dag);
    let odd = dag.group("odd", |dag| sum(dag, numbers));
    let total = sum(dag, double(dag, expand(numbers)));
    let added = dag.expand_group("each", expand(numbers), |dag, number: XComArg<u64>| {
        add(dag, number, double_of(dag, number))
    });
    sum_of(dag, added.output);
    dag.bash("tell", "echo {{ ti.xcom_pull('sum') }}").after(total);
    dag.bash("tell_odd", "echo $N").env("N", odd.output);
}

#[task]
fn double_of(number: u64) -> u64 {
    2 * number
}

#[task]
fn sum_of(all: Vec<u64>) -> u64 {
    all.into_iter().sum()
}

#[test]
fn whatever_a_dag_declares_is_read() {
    let report = run(&declared());
    assert!(report.succeeded(), "{report:?}");
}

#[task]
fn curious(ti: &TaskInstance) -> Result<String> {
    let error = ti.xcom_pull("numbers").get::<Vec<u64>>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    Ok(error.to_string())
}

/// A task that comes later without being told so.
#[dag]
fn undeclared(dag: &Dag) {
    let total = sum(dag, numbers(dag));
    dag.task(curious(dag)).after(total);
    dag.bash("tell", "echo {{ ti.xcom_pull('numbers') }}").after(total);
}

#[test]
fn what_is_two_steps_before_is_not_declared() {
    let report = run(&undeclared());
    let state = |task: &str| report.task(task).map(|it| it.state);
    assert_eq!(state("curious"), Some(TaskState::Success), "{report:?}");
    assert_eq!(state("tell"), Some(TaskState::Failed), "{report:?}");
    assert!(format!("{report:?}").contains("[xcom] reads = \\\"declared\\\""), "{report:?}");
}
