//! Telling a run to stop.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use excom::prelude::*;
use excom_core::{Clock, Engine, TaskState, memory};
use excom_flow::runner::{Event, Reporter, RunState};
use excom_flow::{Cancellation, DagDefinition, RunOptions, Runner};

use crate::support::{engine, run_with, state};

/// Cancels the run that it is part of, in the way a signal handler would.
fn cancelling(
    definition: impl Fn(&Dag, Cancellation) + Send + Sync + 'static,
) -> (DagDefinition, RunOptions) {
    let cancellation = Cancellation::new();
    let options = RunOptions::new().cancellation(cancellation.clone());
    (DagDefinition::new("d", move |dag| definition(dag, cancellation.clone())), options)
}

/// An operator that cancels the run.
#[derive(Debug, Clone)]
struct Cancel(Cancellation);

impl Operator for Cancel {
    type Output = ();

    fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
        Vec::new()
    }

    async fn execute(self, _: TaskInstance) -> Result<()> {
        self.0.cancel();
        Ok(())
    }
}

#[test]
fn commands_are_ended_as_a_group_and_nothing_more_starts() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready").display().to_string();
    let (definition, options) = cancelling(move |dag, cancellation| {
        let long = dag.bash("long", "(trap '' TERM; sleep 60) & sleep 60 & echo $$ > \"$READY.new\"; mv \"$READY.new\" \"$READY\"; wait");
        long.env("READY", ready.as_str());
        let started =
            dag.bash("started", "until test -e \"$READY\"; do sleep 0.01; done").env("READY", ready.as_str());
        dag.add("cancel", Cancel(cancellation)).after(started);
        dag.bash("behind", "true").after(long);
    });
    let engine = engine();
    let began = Instant::now();
    let report = run_with(&Runner::new(engine.clone()), &definition, options);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(report.state, RunState::Cancelled);
    let long = report.task("long").unwrap();
    assert_eq!(long.state, TaskState::Scheduled);
    assert!(long.failure.as_ref().unwrap().message.contains("cancelled"), "{long:?}");
    assert_eq!(state(&engine, "d", "long"), Some(TaskState::Scheduled));
    assert_eq!(state(&engine, "d", "cancel"), Some(TaskState::Success));
    assert_eq!(report.task("behind").unwrap().tries, 0);
    assert_eq!(state(&engine, "d", "behind"), Some(TaskState::Scheduled));
    // Nobody of the group is left, not even the one that ignores SIGTERM. The kill is sent when the run
    // ends, and takes effect a moment later.
    let group = std::fs::read_to_string(folder.path().join("ready")).unwrap();
    while members(group.trim()).iter().any(|pid| !is_dead(pid)) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", members(group.trim()));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes of a group, from the fifth field of their `stat`.
fn members(group: &str) -> Vec<String> {
    let mut members = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        if behind_name.split_whitespace().nth(2) == Some(group) {
            members.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    members
}

#[test]
fn a_run_that_is_dropped_kills_its_commands() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let definition = DagDefinition::new("d", {
        let ready = ready.display().to_string();
        move |dag| {
            dag.bash(
                "long",
                "trap '' TERM; echo $$ > \"$READY.new\"; mv \"$READY.new\" \"$READY\"; sleep 60",
            )
            .env("READY", ready.as_str());
        }
    });
    let runner = Runner::new(engine());
    crate::support::on_runtime(async {
        let seen = async {
            while !ready.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            report = runner.run(&definition, RunOptions::new()) => panic!("{report:?}"),
            () = seen => (),
        }
        let group = std::fs::read_to_string(&ready).unwrap();
        while !is_dead(group.trim()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// Set in the process that [`a_program_that_is_killed_takes_its_commands_along`] starts: itself again.
const VICTIM: &str = "EXCOM_TEST_VICTIM";

#[test]
fn a_program_that_is_killed_takes_its_commands_along() {
    if let Some(ready) = std::env::var_os(VICTIM) {
        let ready = ready.into_string().unwrap();
        let definition = DagDefinition::new("d", move |dag| {
            let command =
                "trap '' TERM; sleep 60 & echo $$ > \"$READY.new\"; mv \"$READY.new\" \"$READY\"; wait";
            dag.bash("long", command).env("READY", ready.as_str());
        });
        run_with(&Runner::new(engine()), &definition, RunOptions::new());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let mut program = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cancelling::a_program_that_is_killed_takes_its_commands_along"])
        .env(VICTIM, &ready)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !ready.exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "the command never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    let group = std::fs::read_to_string(&ready).unwrap();
    assert!(members(group.trim()).len() >= 2);
    program.kill().unwrap();
    program.wait().unwrap();
    while members(group.trim()).iter().any(|pid| !is_dead(pid)) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", members(group.trim()));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Killed, and only waiting for its parent to notice.
fn is_dead(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn bodies_are_not_waited_for() {
    #[task]
    async fn waits(ti: &TaskInstance) -> Result<()> {
        ti.log("waiting");
        std::future::pending().await
    }
    #[task]
    fn blocks(ti: &TaskInstance) {
        // A thread cannot be stopped, but it can look.
        while !ti.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    #[task]
    fn behind(_unit: Option<()>) {}
    let (definition, options) = cancelling(|dag, cancellation| {
        let waits = waits(dag);
        behind(dag, waits);
        blocks(dag);
        dag.add("cancel", Cancel(cancellation));
    });
    let engine = engine();
    let report = run_with(&Runner::new(engine.clone()), &definition, options);
    assert_eq!(report.state, RunState::Cancelled);
    assert_eq!(report.task("waits").unwrap().state, TaskState::Scheduled);
    assert_eq!(state(&engine, "d", "waits"), Some(TaskState::Scheduled));
    assert_eq!(report.task("behind").unwrap().tries, 0);
}

#[test]
fn a_run_cancelled_before_it_starts_runs_nothing() {
    let (definition, options) = cancelling(|dag, _| {
        dag.bash("never", "true");
    });
    options.cancellation.cancel();
    let engine = engine();
    let report = run_with(&Runner::new(engine.clone()), &definition, options);
    assert_eq!(report.state, RunState::Cancelled);
    assert_eq!((report.tasks[0].tries, report.tasks[0].state), (0, TaskState::Scheduled));
    assert_eq!(state(&engine, "d", "never"), Some(TaskState::Scheduled));
}

#[test]
fn a_task_that_rests_before_its_next_try_goes_on_resting() {
    #[task(retries = 3)]
    fn flaky() -> Result<()> {
        Err("no".into())
    }
    /// Cancels when a task begins to rest.
    struct AtRest(Cancellation);
    impl Reporter for AtRest {
        fn report(&self, event: &Event<'_>) {
            if matches!(event, Event::TaskRetry { .. }) {
                self.0.cancel();
            }
        }
    }
    let (definition, options) = cancelling(|dag, _| {
        flaky(dag);
    });
    let engine =
        Engine::builder(Arc::new(memory::Db::new()), Arc::new(Standing(memory::Clock::new()))).build();
    let reporter = Arc::new(AtRest(options.cancellation.clone()));
    let report = run_with(&Runner::new(engine.clone()).reporter(reporter), &definition, options);
    assert_eq!(report.state, RunState::Cancelled);
    assert_eq!((report.tasks[0].tries, report.tasks[0].state), (1, TaskState::UpForRetry));
    assert_eq!(report.tasks[0].failure.as_ref().unwrap().message, "no");
    assert_eq!(state(&engine, "d", "flaky"), Some(TaskState::UpForRetry));
}

/// A clock by which no wait ever ends.
#[derive(Debug)]
struct Standing(memory::Clock);

impl Clock for Standing {
    fn now(&self) -> jiff::Timestamp {
        self.0.now()
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}
