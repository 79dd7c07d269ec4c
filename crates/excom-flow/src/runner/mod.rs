//! The local runner: a DAG run on this machine, its tasks in parallel, their XComs in an engine.

mod anew;
mod attempt;
mod drive;
mod event;
mod execute;
mod execution;
mod expansion;
pub mod isolation;
mod log;
mod mask;
mod options;
mod past;
mod recorder;
mod report;
mod rerun;
mod rule;
mod schedule;
mod test_task;
mod version;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use excom_core::db::{DagRun, RunInfo};
use excom_core::{Engine, Error, ErrorKind, Result, Value};

pub use event::{Event, JsonReporter, PlainReporter, Reporter};
pub use excom_core::RunState;
pub use options::RunOptions;
pub use recorder::Pushed;
pub use report::{InstanceFailure, Instances, RunReport, TaskReport};
pub use rerun::Rerun;
pub use test_task::{TestOptions, TestReport};

use crate::cancel::Cancellation;
use crate::contract::Contracts;
use crate::dag::{DagDefinition, Graph};
use crate::error::{invalid, nearest};
use crate::params::{Given, Params};
use anew::Anew;
use isolation::Isolation;
use past::Past;

/// How many tasks run at the same time unless told.
pub const PARALLELISM: u32 = 32;

/// How many instances a mapped task may have unless told.
pub const MAX_MAP_LENGTH: u32 = 100_000;

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
    max_map_length: u32,
    isolation: Option<Arc<dyn Isolation>>,
    logs: Option<Arc<Path>>,
    home: Option<PathBuf>,
    reporter: Option<Arc<dyn Reporter>>,
    contracts: Contracts,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runner({} tasks at once on {:?})", self.parallelism, self.engine)
    }
}

impl Runner {
    /// Runs over an engine.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            parallelism: PARALLELISM as usize,
            max_map_length: MAX_MAP_LENGTH,
            isolation: None,
            logs: None,
            home: None,
            reporter: None,
            contracts: Contracts::default(),
        }
    }

    /// How many tasks run at the same time; [`PARALLELISM`] unless told, as many as in Airflow.
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.parallelism = parallelism.max(1);
        self
    }

    /// How many elements a list may have that a task is expanded over, and how many instances a mapped task;
    /// [`MAX_MAP_LENGTH`] unless told.
    pub fn max_map_length(mut self, most: u32) -> Self {
        self.max_map_length = most;
        self
    }

    /// Runs each try in a process of its own, or wherever else somebody runs it, instead of in this process.
    pub fn isolation(mut self, isolation: Arc<dyn Isolation>) -> Self {
        self.isolation = Some(isolation);
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

    /// What happens when a task pushes what is not of the type that is declared; it is refused unless told.
    pub fn contracts(mut self, contracts: Contracts) -> Self {
        self.contracts = contracts;
        self
    }

    /// Tells somebody what happens while it happens.
    pub fn reporter(mut self, reporter: Arc<dyn Reporter>) -> Self {
        self.reporter = Some(reporter);
        self
    }

    /// The id of a run that is started now and is given none: `manual__` and the time.
    pub fn new_run_id(&self) -> String {
        format!("manual__{:.6}", self.engine.clock().now())
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
    /// When the run cannot start: the DAG is wrong, a parameter is, there is a run of that id already, or the
    /// engine cannot be written. What
    /// happens to tasks is in the report.
    pub async fn run(&self, definition: &DagDefinition, options: RunOptions) -> Result<RunReport> {
        let graph = definition.graph()?;
        let params = definition.resolve(&options.params)?;
        let started_at = self.engine.clock().now();
        let run_id: Arc<str> = match options.run_id {
            Some(run_id) => run_id.into(),
            None => self.new_run_id().into(),
        };
        if let Some(state) = self.state(&graph, &run_id).await? {
            return Err(invalid(format!("DAG `{}` has a run `{run_id}` already: {state}", definition.id()))
                .hint("go on with it with `run --resume`, or run tasks of it again with `rerun`")
                .hint("or choose another run id"));
        }
        let run = DagRun {
            logical_date: options.logical_date,
            conf: Some(params.to_dict()?),
            ..DagRun::new(graph.dag_id().clone(), run_id, started_at)
        };
        self.drive(definition, graph, run, params, options.cancellation, Past::default()).await
    }

    /// Goes on with a run that was interrupted: by a cancellation, or because the program was killed. What
    /// ended in it stays as it is, and is not run again; what was interrupted starts its try again.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// # use std::sync::Arc;
    /// # use excom_core::{Engine, memory};
    /// use excom::prelude::*;
    /// use excom::{Cancellation, RunOptions, Runner};
    ///
    /// #[task]
    /// fn first(ti: &TaskInstance) -> i64 { 1 }
    ///
    /// #[dag]
    /// fn one(dag: &Dag) { first(dag); }
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let stopped = Cancellation::new();
    /// stopped.cancel();
    /// let options = RunOptions::new().run_id("manual__1").cancellation(stopped);
    /// let runner = Runner::new(engine);
    /// assert_eq!(runner.run(&one(), options).await?.state.name(), "cancelled");
    /// assert!(runner.resume(&one(), "manual__1", Cancellation::new()).await?.succeeded());
    /// # Ok::<(), excom_core::Error>(())
    /// # })?;
    /// # Ok::<(), excom::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Runner::run`]; when there is no such run, or it has ended.
    pub async fn resume(
        &self,
        definition: &DagDefinition,
        run_id: &str,
        cancellation: Cancellation,
    ) -> Result<RunReport> {
        let graph = definition.graph()?;
        let info = self.known(&graph, run_id).await?;
        if let Some(state @ (RunState::Success | RunState::Failed)) = info.state {
            return Err(invalid(format!("run `{run_id}` of DAG `{}` has ended: {state}", definition.id()))
                .hint("run tasks of it again with `rerun`"));
        }
        let past = Past::read(&self.engine, &graph, &info.run.run_id, &Anew::default()).await?;
        let params = stored_params(definition, &info)?;
        self.drive(definition, graph, info.run, params, cancellation, past).await
    }

    /// The state of a run, once it was started.
    async fn state(&self, graph: &Graph, run_id: &str) -> Result<Option<RunState>> {
        let info = self.engine.db().run_info(graph.dag_id(), run_id).await?;
        Ok(info.and_then(|info| info.state))
    }

    async fn known(&self, graph: &Graph, run_id: &str) -> Result<RunInfo> {
        if let Some(info) = self.engine.db().run_info(graph.dag_id(), run_id).await? {
            return Ok(info);
        }
        let filter = excom_core::db::RunFilter { dag_id: Some(graph.dag_id().clone()), state: None };
        let known = self.engine.db().runs(&filter, None, 100).await?;
        let error = invalid(format!("DAG `{}` has no run `{run_id}`", graph.dag_id()));
        let ids = || known.iter().map(|info| &*info.run.run_id);
        Err(match (nearest(run_id, ids()), ids().next()) {
            (Some(near), _) => error.hint(format!("nearest: `{near}`")),
            (None, Some(newest)) => error.hint(format!("the newest is `{newest}`")),
            (None, None) => error.hint("it has no runs yet"),
        })
    }
}

/// A task of a DAG by its id.
fn number(graph: &Graph, task_id: &str) -> Result<u32> {
    graph.number(task_id).ok_or_else(|| {
        let error = invalid(format!("DAG `{}` has no task `{task_id}`", graph.dag_id()));
        match nearest(task_id, graph.tasks().iter().map(crate::dag::Task::id)) {
            Some(near) => error.hint(format!("nearest: `{near}`")),
            None => error.hint("the command `tasks` lists them"),
        }
    })
}

/// The parameters that a run was started with.
fn stored_params(definition: &DagDefinition, info: &RunInfo) -> Result<Params> {
    let mut given = BTreeMap::new();
    if let Some(conf) = &info.run.conf {
        let entries = crate::entries::of(conf.as_str())
            .map_err(|e| Error::new(ErrorKind::InvalidValue, "the parameters of the run").because(e))?;
        for (name, value) in entries {
            given.insert(name, Given::Value(Value::parse(value.get().to_owned())?));
        }
    }
    definition.resolve(&given)
}
