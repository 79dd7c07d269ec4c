//! A DAG whose every try is a process of its own.

use std::sync::Arc;

use excom::prelude::*;
use excom::{RunOptions, Runner};
use excom_airflow::process::Supervisor;
use excom_core::{Engine, memory};

use crate::support::{TIMEOUTS, program};

#[task]
fn numbers(most: i64) -> Vec<i64> {
    (1..=most).collect()
}

#[task(retries = 1, retry_delay = "0s")]
fn double(ti: &TaskInstance, n: i64) -> Result<i64> {
    if n == 2 && ti.try_number() == 1 {
        std::process::abort();
    }
    ti.log(&format!("{n} in process {}", std::process::id()));
    Ok(2 * n)
}

#[task]
fn sum(all: Vec<i64>) -> i64 {
    all.into_iter().sum()
}

#[dag]
pub(crate) fn isolated(dag: &Dag, #[param(default = 3)] most: Param<i64>) {
    sum(dag, double(dag, expand(numbers(dag, most))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dag_runs_isolated_and_an_abort_is_a_failed_try() {
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    let supervisor = Supervisor::new(program("flow")).timeouts(TIMEOUTS);
    let runner = Runner::new(engine).isolation(Arc::new(supervisor));
    let report = runner.run(&isolated(), RunOptions::new().param("most", "4")).await.unwrap();
    assert!(report.succeeded(), "{report:#?}");
    // The instance whose process aborted was tried again.
    assert_eq!(report.task("double").unwrap().tries, 2, "{report:#?}");
    assert_eq!(report.task("sum").unwrap().pushed[0].preview, "20");
}
