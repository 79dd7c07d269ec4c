//! Tries: their delays, their time limits, what looks again, and what a failure tells.

use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::Duration;

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::runner::{Event, Reporter};
use excom_flow::{DagDefinition, Reschedule, RunOptions, Runner};

use crate::support::{engine, pushed, run, run_with, states};

/// The delays before tries, in seconds.
#[derive(Debug, Default)]
struct Delays(Mutex<Vec<f64>>);

impl Reporter for Delays {
    fn report(&self, event: &Event<'_>) {
        if let Event::TaskRetry { delay, .. } = event {
            self.0.lock().unwrap().push(delay.as_secs_f64());
        }
    }
}

#[test]
fn delays_grow_with_a_backoff_up_to_a_bound() {
    #[task(retries = 5, retry_delay = "10s", retry_exponential_backoff = 2.0, max_retry_delay = "50s")]
    fn never() -> Result<()> {
        Err("never".into())
    }
    let definition = DagDefinition::new("d", |dag| {
        never(dag);
    });
    let delays = Arc::new(Delays::default());
    let runner = Runner::new(engine()).reporter(delays.clone());
    run_with(&runner, &definition, RunOptions::new());
    let delays = delays.0.lock().unwrap();
    assert_eq!(delays.len(), 5);
    for (delay, most) in delays.iter().zip([10.0, 20.0, 40.0, 50.0, 50.0]) {
        assert!((most / 2.0..=most).contains(delay), "{delays:?}");
    }
}

#[test]
fn a_mapped_instance_is_retried_by_itself_and_clears_only_its_own() {
    #[task(retries = 1, retry_delay = "1s")]
    fn flaky(ti: &TaskInstance, n: i64) -> Result<i64> {
        ti.xcom_push(&format!("of_try_{}", ti.try_number()), &n)?;
        if n == 2 && ti.try_number() == 1 { Err("once".into()) } else { Ok(n) }
    }
    let definition = DagDefinition::new("d", |dag| {
        flaky(dag, expand([1, 2]));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    let at = |map_index, key: &str| {
        let key = excom_core::XComKey::new("d", "r", "flaky", map_index, key).unwrap();
        pollster::block_on(engine.db().entries(&[key])).unwrap()[0].is_some()
    };
    assert!(at(0, "of_try_1") && !at(1, "of_try_1") && at(1, "of_try_2"));
}

#[test]
fn a_try_that_takes_too_long_fails_and_is_tried_again() {
    #[task(retries = 1, retry_delay = "1s", execution_timeout = "20ms")]
    async fn stuck(ti: &TaskInstance) -> Result<u32> {
        if ti.try_number() == 1 {
            std::future::pending::<()>().await;
        }
        Ok(ti.try_number())
    }
    let definition = DagDefinition::new("d", |dag| {
        stuck(dag);
        dag.bash("command", "sleep 60").execution_timeout(Duration::from_millis(20));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert_eq!(pushed(&engine, "d", "stuck", "return_value").unwrap(), "2");
    let failure = report.task("command").unwrap().failure.as_ref().unwrap();
    assert!(failure.message.contains("longer than 20ms"), "{failure:?}");
    assert!(failure.message.contains("execution_timeout") && !failure.hints.is_empty(), "{failure:?}");
}

#[test]
fn the_thread_of_a_try_that_took_too_long_writes_nothing_into_the_next() {
    type Gate = (Mutex<mpsc::Sender<()>>, Mutex<mpsc::Receiver<()>>);
    static GATE: LazyLock<Gate> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel();
        (Mutex::new(sender), Mutex::new(receiver))
    });
    static LATE: Mutex<Option<bool>> = Mutex::new(None);
    #[task(retries = 1, retry_delay = "1s", execution_timeout = "1s")]
    fn blocked(ti: &TaskInstance) -> Result<u32> {
        if ti.try_number() == 1 {
            GATE.1.lock().unwrap().recv()?;
            *LATE.lock().unwrap() = Some(ti.xcom_push("k", &"late").is_ok());
        }
        Ok(ti.try_number())
    }
    #[task]
    fn release(_n: u32) -> Result<()> {
        Ok(GATE.0.lock().unwrap().send(())?)
    }
    let definition = DagDefinition::new("d", |dag| {
        release(dag, blocked(dag));
    });
    let engine = engine();
    // The runtime waits for the thread before it is gone.
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(*LATE.lock().unwrap(), Some(false), "a superseded try may not write");
    assert_eq!(pushed(&engine, "d", "blocked", "return_value").unwrap(), "2");
    assert_eq!(pushed(&engine, "d", "blocked", "k"), None);
}

#[test]
fn a_task_that_looks_again_keeps_its_try_and_what_it_pushed() {
    #[task(retries = 3)]
    fn waits(ti: &TaskInstance) -> Result<u32> {
        let looks: Option<u32> = ti.xcom_pull(()).key("looks").get()?;
        let looks = looks.unwrap_or(0) + 1;
        ti.xcom_push("looks", &looks)?;
        if looks < 4 {
            return Err(Reschedule::after(Duration::from_secs(60)).into());
        }
        Ok(ti.try_number())
    }
    let definition = DagDefinition::new("d", |dag| {
        waits(dag);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(pushed(&engine, "d", "waits", "looks").unwrap(), "4");
    assert_eq!(pushed(&engine, "d", "waits", "return_value").unwrap(), "1");
    let key = excom_core::TaskInstanceKey::new("d", "r", "waits", -1).unwrap();
    assert_eq!(pollster::block_on(engine.attempts(&key)).unwrap().len(), 1);
}

#[test]
fn a_failure_names_what_was_read() {
    #[task]
    fn rows() -> Vec<i64> {
        vec![1, 2]
    }
    #[task]
    fn broken(ti: &TaskInstance, rows: Vec<i64>) -> Result<()> {
        let _ = (rows, ti.xcom_pull("rows").get::<Vec<i64>>()?);
        Err("too few".into())
    }
    let definition = DagDefinition::new("d", |dag| {
        broken(dag, rows(dag));
    });
    let report = run(&engine(), &definition);
    let failure = report.task("broken").unwrap().failure.as_ref().unwrap();
    assert_eq!(failure.message, "too few");
    assert!(failure.read[0].starts_with("`return_value` of rows"), "{failure:?}");
    assert!(failure.read[0].contains("pushed by"), "{failure:?}");
}

#[test]
fn a_value_of_the_wrong_type_names_the_argument() {
    #[task]
    fn text() -> String {
        "many".into()
    }
    #[task]
    fn counts(n: i64) -> i64 {
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        counts(dag, text(dag).output::<i64>("return_value"));
        counts(dag, expand(text(dag).output::<Vec<i64>>("none")));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    let failure = report.task("counts").unwrap().failure.as_ref().unwrap();
    assert!(failure.message.contains("argument `n`"), "{failure:?}");
    assert_eq!(states(&engine, "d", "counts__1"), [(-1, TaskState::UpstreamFailed)]);
}
