//! The local runner: a DAG run on this machine, its tasks in parallel, their XComs in an engine.

mod attempt;
mod event;
mod execution;
mod log;
mod recorder;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use excom_core::db::DagRun;
use excom_core::{Engine, Error, ErrorKind, Result, TaskInstanceKey, TaskState, UNMAPPED};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::task::JoinHandle;

pub use event::{Event, JsonReporter, PlainReporter, Reporter};
pub use recorder::Pushed;

use crate::cancel::Cancellation;
use crate::dag::DagDefinition;
use crate::instance::RunFacts;
use crate::outcome::Failure;
use crate::params::Given;
use execution::{Execution, Shared};

/// How many tasks run at the same time unless told.
const PARALLELISM: usize = 32;

/// Runs DAGs on this machine, over an engine.
///
/// One machine on purpose: many machines are what Airflow's executors are for.
///
/// ```
/// # extern crate excom_flow as excom;
/// # use std::sync::Arc;
/// # use excom_core::{Engine, memory};
/// use excom::prelude::*;
/// use excom::{RunOptions, Runner};
///
/// #[task]
/// fn double(n: i64) -> i64 { 2 * n }
///
/// #[dag]
/// fn doubling(dag: &Dag, #[param(default = 21)] number: Param<i64>) {
///     double(dag, double(dag, number));
/// }
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
/// let runner = Runner::new(engine).parallelism(4);
/// let report = runner.run(&doubling(), RunOptions::new().param("number", "4")).await?;
/// assert_eq!(report.task("double__1").unwrap().pushed[0].preview, "16");
/// # Ok::<(), excom_core::Error>(())
/// # })?;
/// # Ok::<(), excom::BoxError>(())
/// ```
#[derive(Clone)]
#[must_use = "a runner runs nothing before `run`"]
pub struct Runner {
    engine: Engine,
    parallelism: usize,
    logs: Option<Arc<Path>>,
    home: Option<PathBuf>,
    reporter: Option<Arc<dyn Reporter>>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runner({} tasks at once on {:?})", self.parallelism, self.engine)
    }
}

/// What one run is given.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// The run's id; `manual__` and the time unless given.
    pub run_id: Option<String>,
    /// Parameters by name.
    pub params: BTreeMap<String, Given>,
    /// The date that the run is for. Without one, templates have no `ds`, `ts` and `logical_date`.
    pub logical_date: Option<Timestamp>,
    /// Tells the run to stop.
    pub cancellation: Cancellation,
}

impl RunOptions {
    /// A run with an id of its own, default parameters and no logical date.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a run id.
    #[must_use]
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = Some(run_id.into());
        self
    }

    /// The same with a parameter: text as from a command line, or a value.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Given>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// The same for a date.
    #[must_use]
    pub fn logical_date(mut self, date: Timestamp) -> Self {
        self.logical_date = Some(date);
        self
    }

    /// The same with a way to stop it.
    #[must_use]
    pub fn cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Every task succeeded or was skipped.
    Success,
    /// A task failed.
    Failed,
    /// It was told to stop.
    Cancelled,
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// What became of a run.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The run's id.
    pub run_id: Arc<str>,
    /// How it ended.
    pub state: RunState,
    /// When it started, UTC.
    pub started_at: Timestamp,
    /// How long it took.
    #[serde(serialize_with = "event::milliseconds", rename = "duration_ms")]
    pub duration: SignedDuration,
    /// Its tasks, in the order in which the DAG has them.
    pub tasks: Vec<TaskReport>,
    /// What went wrong beside the tasks, such as a log that could not be written.
    pub warnings: Vec<String>,
}

impl RunReport {
    /// Whether every task succeeded or was skipped.
    pub fn succeeded(&self) -> bool {
        self.state == RunState::Success
    }

    /// What became of a task.
    pub fn task(&self, task_id: &str) -> Option<&TaskReport> {
        self.tasks.iter().find(|task| &*task.task_id == task_id)
    }
}

/// What became of a task.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TaskReport {
    /// Its id.
    pub task_id: Arc<str>,
    /// How it ended.
    pub state: TaskState,
    /// How many times it was tried; 0 when it never started.
    pub tries: u32,
    /// How long its last try took.
    #[serde(serialize_with = "event::milliseconds", rename = "duration_ms")]
    pub duration: SignedDuration,
    /// What its last try pushed, in order.
    pub pushed: Vec<Pushed>,
    /// Why it failed or was skipped.
    pub failure: Option<Failure>,
    /// The log of its last try, when there is one.
    pub log: Option<PathBuf>,
}

impl Runner {
    /// Runs over an engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine, parallelism: PARALLELISM, logs: None, home: None, reporter: None }
    }

    /// How many tasks run at the same time; 32 unless told, as in Airflow.
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.parallelism = parallelism.max(1);
        self
    }

    /// Writes a log for each try under a folder:
    /// `dag_id=…/run_id=…/task_id=…/attempt=N.log`. A try that says nothing and succeeds has none.
    pub fn logs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.logs = Some(folder.into().into());
        self
    }

    /// Where Excom keeps its data, which commands get as `EXCOM_HOME`.
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Tells somebody what happens while it happens.
    pub fn reporter(mut self, reporter: Arc<dyn Reporter>) -> Self {
        self.reporter = Some(reporter);
        self
    }

    /// Runs a DAG to its end, on the tokio runtime that it is called in.
    ///
    /// Meanwhile the engine is maintained; at the end it is closed, so that what it buffers is written.
    ///
    /// To stop it, use [`RunOptions::cancellation`]: then commands end in order and states are written.
    /// Dropping the future kills commands and leaves the states as they are. The body of a sync task is a
    /// thread, which nothing can stop: it is not waited for, but a runtime that is dropped waits for it.
    ///
    /// # Errors
    /// When the run cannot start: the DAG is wrong, a parameter is, or the engine cannot be written. What
    /// happens to tasks is in the report.
    pub async fn run(&self, definition: &DagDefinition, options: RunOptions) -> Result<RunReport> {
        let graph = definition.graph()?;
        let params = definition.resolve(&options.params)?;
        let clock = self.engine.clock().clone();
        let started_at = clock.now();
        let run_id: Arc<str> = match options.run_id {
            Some(run_id) => run_id.into(),
            None => format!("manual__{started_at:.6}").into(),
        };
        let key = |task_id: &Arc<str>| {
            TaskInstanceKey::new(graph.dag_id().clone(), run_id.clone(), task_id.clone(), UNMAPPED)
        };
        let keys: Vec<TaskInstanceKey> =
            graph.tasks().iter().map(|task| key(task.shared_id())).collect::<Result<_>>()?;
        let run = DagRun {
            dag_id: graph.dag_id().clone(),
            run_id: run_id.clone(),
            logical_date: options.logical_date,
            run_after: started_at,
        };
        self.engine.register_run(&run).await?;
        let scheduled: Vec<_> = keys.iter().map(|key| (key.clone(), TaskState::Scheduled)).collect();
        self.engine.set_states(&scheduled).await?;

        let facts = RunFacts {
            params,
            logical_date: options.logical_date,
            home: self.home.clone(),
            cancellation: options.cancellation,
            ..RunFacts::default()
        };
        let shared = Shared {
            engine: self.engine.clone(),
            tasks: graph.shared(),
            keys,
            run: Arc::new(facts),
            logs: self.logs.clone(),
            reporter: self.reporter.clone(),
        };
        let total = shared.tasks.len();
        shared.report(&Event::RunStarted {
            dag_id: &run.dag_id,
            run_id: &run_id,
            tasks: total,
            at: started_at,
        });

        let troubles = Arc::default();
        let maintenance = self.maintain(&troubles);
        // On the runtime's own threads, where waking up a task is cheapest.
        let mut execution =
            Background(tokio::spawn(Execution::new(Arc::new(shared), self.parallelism).run()));
        let mut ended = (&mut execution.0)
            .await
            .map_err(|e| Error::new(ErrorKind::Other, "the runner panicked").because(e))?;
        drop(maintenance);
        ended.warnings.extend(take(&troubles).into_iter().map(|trouble| format!("maintenance: {trouble}")));
        // A program of short runs never lives to see a minute of maintenance.
        let kept = async {
            self.engine.upkeep().await?;
            self.engine.close().await
        };
        if let Err(error) = kept.await {
            ended.warnings.push(format!("the engine could not be maintained: {error}"));
        }
        let report = RunReport {
            dag_id: run.dag_id,
            run_id,
            state: ended.state,
            started_at,
            duration: clock.now().duration_since(started_at),
            tasks: ended.tasks,
            warnings: ended.warnings,
        };
        if let Some(reporter) = &self.reporter {
            reporter.report(&Event::RunFinished { report: &report });
        }
        Ok(report)
    }

    /// Drives the engine's background work from the second second on; shorter runs need none.
    fn maintain(&self, troubles: &Arc<Troubles>) -> Background<()> {
        let (engine, troubles) = (self.engine.clone(), troubles.clone());
        Background(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // By a clock that does not really wait (a test's), the work would spin for ever.
            let mut nap = engine.clock().sleep(Duration::from_millis(1));
            if poll_fn(|context| Poll::Ready(nap.as_mut().poll(context).is_ready())).await {
                return;
            }
            let note = |error: &Error| {
                troubles.lock().unwrap_or_else(PoisonError::into_inner).insert(error.to_string());
            };
            engine.maintain(note).await;
        }))
    }
}

/// What maintenance could not do, each once.
type Troubles = Mutex<BTreeSet<String>>;

fn take(troubles: &Troubles) -> BTreeSet<String> {
    std::mem::take(&mut *troubles.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Work of the runtime that ends with whoever started it.
struct Background<T>(JoinHandle<T>);

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
