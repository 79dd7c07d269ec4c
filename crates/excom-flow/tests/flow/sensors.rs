//! Sensors, on a clock that goes ahead when everybody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use excom::prelude::*;
use excom_core::{TaskState, Value};
use excom_flow::{
    Cancellation, DagDefinition, FileThere, Poke, Reschedule, Resumed, RunFacts, RunOptions, RunReport,
    Runner, SensorTimeout, Waiting,
};
use tokio::time::Instant;

use crate::support::{engine, pushed, run, started};

const MINUTE: Duration = Duration::from_secs(60);

/// Runs on a runtime whose time stands still while there is something to do.
fn in_no_time<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(future)
}

/// A task instance, and a poke that finds nothing so many times and then a value.
fn world(misses: u32) -> (TaskInstance, Arc<AtomicU32>, impl FnMut() -> std::future::Ready<Result<Poke>>) {
    let looked = Arc::new(AtomicU32::new(0));
    let count = looked.clone();
    let poke = move || {
        let look = count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(if look < misses {
            Ok(Poke::NotYet)
        } else {
            Poke::value(&look).map_err(Into::into)
        })
    };
    (started(&engine(), "r", "t", -1), looked, poke)
}

#[test]
fn it_looks_at_once_and_then_at_intervals() {
    let (ti, _, poke) = world(3);
    let waited = in_no_time(async {
        let start = Instant::now();
        let value = Waiting::default().wait(&ti, poke).await.unwrap();
        assert_eq!(value.as_str(), "3");
        start.elapsed()
    });
    assert_eq!(waited.as_secs(), 180);
}

#[test]
fn the_waits_may_grow() {
    let (ti, _, poke) = world(5);
    let waiting = Waiting { backoff: Some(5 * MINUTE), ..Waiting::default() };
    let waited = in_no_time(async {
        let start = Instant::now();
        waiting.wait(&ti, poke).await.unwrap();
        start.elapsed()
    });
    assert_eq!(waited.as_secs(), (1 + 2 + 4 + 5 + 5) * 60);
}

#[test]
fn when_the_time_is_over_it_looks_a_last_time_and_fails_or_skips() {
    let (ti, looked, poke) = world(u32::MAX);
    let waiting = Waiting { timeout: Duration::from_secs(150), ..Waiting::default() };
    let error = in_no_time(async {
        let start = Instant::now();
        let error = waiting.wait(&ti, poke).await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), 150);
        error
    });
    assert!(error.is::<SensorTimeout>());
    assert_eq!(error.to_string(), "what the sensor waits for did not come in 150s; it looked 4 times");
    assert_eq!(looked.load(Ordering::Relaxed), 4);

    let (ti, _, poke) = world(u32::MAX);
    let soft = Waiting { soft_fail: true, timeout: Duration::ZERO, ..waiting };
    let error = in_no_time(soft.wait(&ti, poke)).unwrap_err();
    assert!(error.is::<Skip>() && error.to_string().ends_with("it looked once"), "{error}");
}

#[test]
fn it_lets_its_place_go_and_knows_later_how_long_it_waited() {
    let waiting = Waiting {
        reschedule: true,
        timeout: 10 * MINUTE,
        backoff: Some(Duration::MAX),
        ..Waiting::default()
    };
    let delay = |times, after| {
        let (ti, looked, poke) = world(u32::MAX);
        let ti = ti.as_resumed(Resumed { times, after });
        let error = in_no_time(waiting.wait(&ti, poke)).unwrap_err();
        assert_eq!(looked.load(Ordering::Relaxed), 1);
        error.downcast_ref::<Reschedule>().map(Reschedule::delay)
    };
    assert_eq!(delay(0, Duration::ZERO), Some(MINUTE));
    assert_eq!(delay(2, 3 * MINUTE), Some(4 * MINUTE));
    assert_eq!(delay(3, 7 * MINUTE), Some(3 * MINUTE), "the last look is when the time is over");
    assert_eq!(delay(4, 10 * MINUTE), None, "the time is over");
}

#[test]
fn an_error_of_a_look_is_the_tasks() {
    let (ti, ..) = world(0);
    let broken = || std::future::ready(Err("the server says no".into()));
    let error = in_no_time(Waiting::default().wait(&ti, broken)).unwrap_err();
    assert_eq!(error.to_string(), "the server says no");
}

#[test]
fn a_cancelled_run_does_not_wait() {
    let (ti, _, poke) = world(u32::MAX);
    let run = RunFacts::default();
    let cancellation: Cancellation = run.cancellation.clone();
    let ti = ti.in_run(Arc::new(run));
    let error = in_no_time(async {
        let start = Instant::now();
        let cancel = async {
            tokio::time::sleep(Duration::from_secs(90)).await;
            cancellation.cancel();
        };
        let (waited, ()) = tokio::join!(Waiting::default().wait(&ti, poke), cancel);
        assert_eq!(start.elapsed().as_secs(), 90);
        waited.unwrap_err()
    });
    assert!(error.to_string().contains("cancelled"));
}

/// Runs sensors of DAG `d` in a folder.
fn sensing(folder: &std::path::Path) -> (RunReport, excom_core::Engine) {
    let engine = engine();
    let path = folder.display().to_string();
    let definition = DagDefinition::new("d", move |dag| {
        dag.sensor("file", FileThere::new(format!("{path}/{{{{ run_id }}}}")));
        dag.sensor("folder", FileThere::new(path.as_str()));
        let soon = Duration::from_millis(1);
        let empty = dag.sensor("empty", FileThere::new(format!("{path}/empty")));
        empty.poke_interval(soon).timeout(soon);
        let none = dag.sensor("none", FileThere::new(format!("{path}/none")));
        none.poke_interval(soon).timeout(soon).soft_fail();
        let wrong = dag.sensor("wrong", FileThere::new(format!("{path}/r/below")));
        wrong.poke_interval(soon);
        let number = dag.sensor("number", |ti: TaskInstance| async move {
            Ok(Poke::value(&format!("{} of {}", ti.task_id(), ti.try_number()))?)
        });
        takes(dag, number.output_as());
        dag.sensor("value", |_: TaskInstance| async { Ok(Poke::Value(Value::parse("[1]")?)) })
            .do_xcom_push(false);
    });
    let runner = Runner::new(engine.clone());
    let report = crate::support::run_with(&runner, &definition, RunOptions::new());
    (report, engine)
}

#[task]
fn takes(text: String) -> String {
    text
}

#[test]
fn sensors_in_a_dag() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r"), "").unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let (report, engine) = sensing(folder.path());
    let state = |task: &str| report.task(task).unwrap().state;
    for (task, expected) in [
        ("file", TaskState::Success),
        ("folder", TaskState::Success),
        ("empty", TaskState::Failed),
        ("none", TaskState::Skipped),
        ("wrong", TaskState::Failed),
        ("value", TaskState::Success),
    ] {
        assert_eq!(state(task), expected, "{task}: {:?}", report.task(task).unwrap().failure);
        assert_eq!(pushed(&engine, "d", task, "return_value"), None, "{task}");
    }
    let wrong = report.task("wrong").unwrap().failure.clone().unwrap().message;
    assert!(wrong.contains("cannot look for") && wrong.contains("/r/below"), "{wrong}");
    assert_eq!(pushed(&engine, "d", "takes", "return_value").unwrap(), r#""number of 1""#);
}

#[test]
fn a_file_that_comes_later_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later").display().to_string();
    let definition = DagDefinition::new("d", move |dag| {
        let soon = Duration::from_millis(5);
        let looked = dag.sensor("sensor", FileThere::new(path.as_str())).poke_interval(soon);
        dag.bash("writes", "sleep 0.05; touch \"$LATER\"").env("LATER", path.as_str());
        dag.bash("behind", "echo there").after(looked);
    });
    let report = run(&engine(), &definition);
    assert!(report.succeeded(), "{report:?}");
}
