//! Runs: order, parallelism, retries, and what one task's end means for others.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use excom::prelude::*;
use excom_core::engine::Settings;
use excom_core::{Clock, Engine, ErrorKind, TaskInstanceKey, TaskState, memory};
use excom_flow::runner::RunState;
use excom_flow::{DagDefinition, RunOptions, Runner};

use crate::support::{engine, on_runtime, pushed, run, run_with, state};

#[task]
fn ok() -> u8 {
    1
}

#[task]
fn fails() -> Result<u8> {
    Err("it broke".into())
}

#[task]
fn skips() -> Result<u8> {
    Err(Skip::because("nothing to do").into())
}

#[task]
fn needs(a: u8, b: u8) -> u8 {
    a + b
}

#[test]
fn what_failed_or_was_skipped_stops_what_is_behind_it() {
    #[dag]
    fn stops(dag: &Dag) {
        let (ok, fails, skips) = (ok(dag), fails(dag), skips(dag));
        let behind_failed = needs(dag, ok, fails);
        needs(dag, ok, skips);
        needs(dag, skips, fails);
        needs(dag, behind_failed, ok);
        needs(dag, ok, ok);
    }
    let engine = engine();
    let report = run(&engine, &stops());
    assert_eq!(report.state, RunState::Failed);
    let expected = [
        ("ok", TaskState::Success),
        ("fails", TaskState::Failed),
        ("skips", TaskState::Skipped),
        ("needs", TaskState::UpstreamFailed),
        ("needs__1", TaskState::Skipped),
        ("needs__2", TaskState::UpstreamFailed),
        ("needs__3", TaskState::UpstreamFailed),
        ("needs__4", TaskState::Success),
    ];
    for (task, expected) in expected {
        assert_eq!(report.task(task).unwrap().state, expected, "{task}");
        assert_eq!(state(&engine, "stops", task), Some(expected), "{task}");
    }
    assert_eq!(report.task("needs").unwrap().tries, 0);
    assert_eq!(report.task("skips").unwrap().failure.as_ref().unwrap().message, "skipped: nothing to do");
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
}

#[test]
fn a_run_of_skipped_tasks_succeeds() {
    #[dag]
    fn idle(dag: &Dag) {
        let skips = skips(dag);
        needs(dag, skips, skips);
    }
    assert_eq!(run(&engine(), &idle()).state, RunState::Success);
    let empty = run(&engine(), &DagDefinition::new("empty", |_| ()));
    assert!(empty.succeeded() && empty.tasks.is_empty());
}

#[test]
fn each_try_is_an_attempt_that_clears_what_the_last_pushed() {
    #[task(retries = 2, retry_delay = "10s")]
    fn flaky(ti: &TaskInstance) -> Result<u32> {
        ti.xcom_push(&format!("of_try_{}", ti.try_number()), &true)?;
        if ti.try_number() < 3 { Err("not yet".into()) } else { Ok(ti.try_number()) }
    }
    #[dag]
    fn retried(dag: &Dag) {
        flaky(dag);
    }
    let engine = engine();
    let report = run(&engine, &retried());
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(report.tasks[0].tries, 3);
    assert_eq!(pushed(&engine, "retried", "flaky", "of_try_1"), None);
    assert_eq!(pushed(&engine, "retried", "flaky", "of_try_2"), None);
    assert_eq!(pushed(&engine, "retried", "flaky", "of_try_3").unwrap(), "true");
    let key = TaskInstanceKey::new("retried", "r", "flaky", -1).unwrap();
    let attempts = pollster::block_on(engine.attempts(&key)).unwrap();
    let states: Vec<(u32, TaskState)> = attempts.iter().map(|a| (a.try_number, a.state)).collect();
    assert_eq!(states, [(1, TaskState::UpForRetry), (2, TaskState::UpForRetry), (3, TaskState::Success)]);
    let waited = attempts[1].started_at.duration_since(attempts[0].ended_at.unwrap());
    assert_eq!(waited.as_secs(), 10);
}

#[test]
fn retries_come_to_an_end_and_a_skip_is_not_tried_again() {
    #[task(retries = 1, retry_delay = "1h")]
    fn never() -> Result<()> {
        Err("never".into())
    }
    #[task(retries = 5)]
    fn skips_at_once() -> Result<()> {
        Err(Skip::new().into())
    }
    let definition = DagDefinition::new("d", |dag| {
        let _ = (never(dag), skips_at_once(dag));
    });
    let report = run(&engine(), &definition);
    assert_eq!((report.tasks[0].tries, report.tasks[0].state), (2, TaskState::Failed));
    assert_eq!((report.tasks[1].tries, report.tasks[1].state), (1, TaskState::Skipped));
}

#[test]
fn a_panic_is_a_failed_try() {
    #[task]
    fn sync_panics() {
        panic!("sync {}", 1);
    }
    #[task(retries = 1)]
    async fn async_panics(ti: &TaskInstance) {
        assert!(ti.try_number() > 1, "async panic");
    }
    #[task]
    fn good() -> u8 {
        1
    }
    let definition = DagDefinition::new("d", |dag| {
        let _ = (sync_panics(dag), async_panics(dag), good(dag));
    });
    let report = run(&engine(), &definition);
    let failure = report.tasks[0].failure.clone().unwrap().message;
    assert_eq!(failure, "the task panicked: sync 1");
    assert_eq!((report.tasks[1].state, report.tasks[1].tries), (TaskState::Success, 2));
    assert_eq!(report.tasks[2].state, TaskState::Success);
}

#[test]
fn no_more_run_at_once_than_told_and_as_many() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    static THREE: LazyLock<tokio::sync::Barrier> = LazyLock::new(|| tokio::sync::Barrier::new(3));
    #[task]
    async fn counted(number: usize) -> usize {
        let now = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
        MOST.fetch_max(now, Ordering::SeqCst);
        // Never opens unless three run at once.
        THREE.wait().await;
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        number
    }
    let definition = DagDefinition::new("wide", |dag| {
        for number in 0..39 {
            counted(dag, number);
        }
    });
    let report = run_with(&Runner::new(engine()).parallelism(3), &definition, RunOptions::new());
    assert!(report.succeeded());
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
}

#[test]
fn tasks_run_behind_everything_that_they_wait_for() {
    static ORDER: Mutex<Vec<String>> = Mutex::new(Vec::new());
    #[task]
    fn noted(ti: &TaskInstance) {
        ORDER.lock().unwrap().push(ti.task_id().to_owned());
    }
    let definition = DagDefinition::new("d", |dag| {
        let tasks: Vec<_> = (0..30).map(|_| noted(dag)).collect();
        // Backwards, so that the order of adding is not the order of running.
        for pair in tasks.windows(2) {
            dag.task(pair[0]).after(pair[1]);
        }
        dag.task(noted(dag)).after(tasks[0]).after(tasks[15]);
    });
    assert!(run(&engine(), &definition).succeeded());
    let order = ORDER.lock().unwrap();
    let mut expected: Vec<String> = (1..30).rev().map(|n| format!("noted__{n}")).collect();
    expected.extend(["noted".to_owned(), "noted__30".to_owned()]);
    assert_eq!(*order, expected);
}

#[test]
fn run_ids_and_dates_are_registered() {
    let engine = engine();
    let date = "2026-11-20T00:00:00Z".parse().unwrap();
    let definition = DagDefinition::new("d", |dag| {
        ok(dag);
    });
    let runner = Runner::new(engine.clone());
    let report = on_runtime(runner.run(&definition, RunOptions::new().logical_date(date))).unwrap();
    assert_eq!(&*report.run_id, "manual__2026-11-21T10:00:00.000000Z");
    let known = pollster::block_on(engine.db().run_info("d", &report.run_id)).unwrap().unwrap().run;
    let started = "2026-11-21T10:00:00Z".parse().unwrap();
    assert_eq!((known.logical_date, known.run_after), (Some(date), started), "due when it was started");
    let error = on_runtime(runner.run(&definition, RunOptions::new().run_id(""))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidName);
}

#[test]
fn a_push_that_is_refused_fails_the_try() {
    #[task]
    fn large() -> String {
        "x".repeat(2000)
    }
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .settings(Settings { hard_limit: 1000, ..Settings::default() })
        .build();
    let definition = DagDefinition::new("d", |dag| {
        large(dag);
    });
    let report = run(&engine, &definition);
    let failure = report.tasks[0].failure.clone().unwrap();
    assert!(failure.message.contains("the hard limit is 1000 bytes"), "{failure:?}");
    assert!(!failure.hints.is_empty());
}

/// Looks, three seconds after it pulled, whether the pull is in the ledger.
#[derive(Debug, Clone)]
struct Look(Engine);

impl Operator for Look {
    type Output = usize;

    fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
        Vec::new()
    }

    async fn execute(self, ti: TaskInstance) -> Result<usize> {
        ti.xcom_pull("ok").aget::<u8>().await?;
        let key = ti.key().clone();
        let read = TaskInstanceKey::new(key.dag_id, key.run_id, "ok", -1)?.xcom("return_value")?;
        let before = self.0.db().readers(&read).await?.len();
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(self.0.db().readers(&read).await?.len() - before)
    }
}

/// A clock that waits by the runtime's time, which a paused runtime moves on by itself.
#[derive(Debug)]
struct RuntimeClock(memory::Clock);

impl Clock for RuntimeClock {
    fn now(&self) -> jiff::Timestamp {
        self.0.now()
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[test]
fn the_engine_is_maintained_while_a_run_lasts() {
    let clock = Arc::new(RuntimeClock(memory::Clock::new()));
    let engine = Engine::builder(Arc::new(memory::Db::new()), clock).build();
    let definition = DagDefinition::new("d", {
        let engine = engine.clone();
        move |dag| {
            dag.add("look", Look(engine.clone())).after(ok(dag));
        }
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    let report =
        runtime.block_on(Runner::new(engine.clone()).run(&definition, RunOptions::new().run_id("r")));
    assert!(report.unwrap().succeeded());
    assert_eq!(pushed(&engine, "d", "look", "return_value").unwrap(), "1");
}

#[test]
fn many_tasks_cost_little_each() {
    // Far below what a slow machine does; a schedule with a step for each pair of tasks would not.
    let definition = DagDefinition::new("wide", |dag| {
        let first = ok(dag);
        let all: Vec<_> = (0..3000).map(|_| needs(dag, first, 1)).collect();
        let last = ok(dag);
        for task in all {
            dag.task(last).after(task);
        }
    });
    let started = std::time::Instant::now();
    let report = run(&engine(), &definition);
    assert!(report.succeeded());
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}
