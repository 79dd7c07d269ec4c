//! The local runner: a DAG run on this machine, its tasks in parallel, their XComs in an engine.

mod anew;
mod attempt;
mod event;
mod execute;
mod execution;
mod expansion;
pub mod isolation;
mod log;
mod past;
mod recorder;
mod report;
mod rule;
mod schedule;
mod test_task;
mod version;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use excom_core::db::{DagRun, RunInfo};
use excom_core::{Caller, Engine, Error, ErrorKind, Result, TaskInstanceKey, TaskState, UNMAPPED, Value};
use jiff::Timestamp;
use tokio::task::JoinHandle;

pub use event::{Event, JsonReporter, PlainReporter, Reporter};
pub use excom_core::RunState;
pub use recorder::Pushed;
pub use report::{InstanceFailure, Instances, RunReport, TaskReport};
pub use test_task::{TestOptions, TestReport};

use crate::cancel::Cancellation;
use crate::contract::Contracts;
use crate::dag::{DagDefinition, Graph};
use crate::error::{invalid, nearest};
use crate::instance::{PreviousRun, RunFacts};
use crate::params::{Given, Params};
use anew::Anew;
use execution::{Execution, Shared};
use isolation::Isolation;
use past::Past;
use schedule::Instance;

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

    /// Runs tasks of a run again, and everything behind them: their XComs are cleared first, and those of the
    /// tasks before them are read again. The setups that a task needs, and their teardowns, run again with it.
    ///
    /// # Errors
    /// As [`Runner::run`]; when there is no such run or task, or nothing to run again.
    pub async fn rerun(
        &self,
        definition: &DagDefinition,
        run_id: &str,
        what: Rerun,
        cancellation: Cancellation,
    ) -> Result<RunReport> {
        let graph = definition.graph()?;
        let info = self.known(&graph, run_id).await?;
        let first: Vec<Instance> = match what {
            Rerun::From(task_ids) => {
                let all = |task| Instance { task, map_index: UNMAPPED };
                task_ids.iter().map(|task_id| number(&graph, task_id).map(all)).collect::<Result<_>>()?
            }
            Rerun::Failed => self.failed(&graph, run_id).await?,
        };
        if first.is_empty() {
            return Err(invalid(format!("nothing failed in run `{run_id}` of DAG `{}`", definition.id()))
                .hint("name a task to run again from"));
        }
        let anew = Anew::behind(&graph, first);
        // Whoever is killed from here on leaves a run that can be resumed.
        self.engine.start_run(&info.run).await?;
        self.clear(&graph, run_id, &anew).await?;
        let past = Past::read(&self.engine, &graph, &info.run.run_id, &anew).await?;
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

    /// The task instances that failed.
    async fn failed(&self, graph: &Graph, run_id: &str) -> Result<Vec<Instance>> {
        let mut failed = Vec::new();
        let mut known = self.engine.task_instances(graph.dag_id(), run_id);
        while let Some(info) = known.next().await? {
            if info.state == TaskState::Failed
                && let Some(task) = graph.number(&info.key.task_id)
            {
                // In a DAG that was changed since, an index may say nothing any more.
                let is_mapped = graph.tasks()[task as usize].is_mapped();
                let map_index = if is_mapped { info.key.map_index } else { UNMAPPED };
                failed.push(Instance { task, map_index });
            }
        }
        Ok(failed)
    }

    /// Lets task instances wait again, and clears what they pushed. In this order, and the last tasks first, so
    /// that nothing counts as done whose values, or whose elders' values, are gone.
    async fn clear(&self, graph: &Graph, run_id: &str, anew: &Anew) -> Result<()> {
        let mut cleared = Vec::new();
        let mut known = self.engine.task_instances(graph.dag_id(), run_id);
        while let Some(info) = known.next().await? {
            let Some(task) = graph.number(&info.key.task_id) else { continue };
            let instance = Instance { task, map_index: info.key.map_index };
            if anew.contains(instance) && info.state != TaskState::Removed {
                cleared.push((Reverse(task), info.key));
            }
        }
        cleared.sort_by_key(|(task, _)| *task);
        let waiting: Vec<(TaskInstanceKey, TaskState)> =
            cleared.iter().map(|(_, key)| (key.clone(), TaskState::Scheduled)).collect();
        for states in waiting.chunks(1000) {
            self.engine.set_states(states).await?;
        }
        for (_, key) in cleared {
            self.engine.clear(&Caller::System("runner"), &excom_core::db::Scope::TaskInstance(key)).await?;
        }
        Ok(())
    }

    /// Runs what is not done of a run, to its end.
    async fn drive(
        &self,
        definition: &DagDefinition,
        graph: Graph,
        mut run: DagRun,
        params: Params,
        cancellation: Cancellation,
        past: Past,
    ) -> Result<RunReport> {
        let versioned = definition.versioned(&graph)?;
        let other_version = version::differs(&self.engine, &run, &versioned).await?;
        run.version = Some(versioned.version.clone());
        let clock = self.engine.clock().clone();
        let started_at = clock.now();
        let run_id = run.run_id.clone();
        let key = |task_id: &Arc<str>| {
            TaskInstanceKey::new(run.dag_id.clone(), run_id.clone(), task_id.clone(), UNMAPPED)
        };
        let keys: Vec<TaskInstanceKey> =
            graph.tasks().iter().map(|task| key(task.shared_id())).collect::<Result<_>>()?;
        // Together, so that both are in one commit.
        let (noted, started) =
            tokio::join!(version::note(&self.engine, &run, &versioned), self.engine.start_run(&run));
        noted.and(started)?;
        let scheduled: Vec<_> = (0..)
            .zip(&keys)
            .filter(|(task, _)| !past.knows(*task))
            .map(|(_, key)| (key.clone(), TaskState::Scheduled))
            .collect();
        for states in scheduled.chunks(1000) {
            self.engine.set_states(states).await?;
        }
        let mut facts = self.facts(definition, &run, params, cancellation).await?;
        facts.start_date = Some(started_at);
        facts.contract = Some(versioned.contract.clone());
        let any = match keys.into_iter().next() {
            Some(key) => key,
            None => key(&"none".into())?,
        };
        let total = graph.tasks().len();
        let task_facts = graph.tasks().iter().map(|task| Arc::new(graph.facts(task))).collect();
        let shared = Shared {
            engine: self.engine.clone(),
            graph,
            any,
            run: Arc::new(facts),
            logs: self.logs.clone(),
            reporter: self.reporter.clone(),
            max_map_length: self.max_map_length,
            isolation: self.isolation.clone(),
            facts: task_facts,
        };
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
            Background(tokio::spawn(Execution::new(Arc::new(shared), self.parallelism, past).run()));
        let mut ended = (&mut execution.0)
            .await
            .map_err(|e| Error::new(ErrorKind::Other, "the runner panicked").because(e))?;
        drop(maintenance);
        ended.warnings.extend(other_version);
        ended.warnings.extend(take(&troubles).into_iter().map(|trouble| format!("maintenance: {trouble}")));
        // A program of short runs never lives to see a minute of maintenance.
        let kept = async {
            self.engine.set_run_state(&run.dag_id, &run_id, ended.state).await?;
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

    /// What the task instances of a run share.
    async fn facts(
        &self,
        definition: &DagDefinition,
        run: &DagRun,
        params: Params,
        cancellation: Cancellation,
    ) -> Result<RunFacts> {
        let previous = self.engine.db().last_success(run).await?;
        Ok(RunFacts {
            params,
            logical_date: run.logical_date,
            run_after: Some(run.run_after),
            conf: run.conf.clone(),
            previous_success: previous.map(|info| PreviousRun {
                start_date: info.started_at,
                end_date: info.ended_at,
                ..PreviousRun::default()
            }),
            template_searchpath: definition.template_folders().to_vec(),
            native_templates: definition.native_templates(),
            home: self.home.clone(),
            cancellation,
            contracts: self.contracts,
            ..RunFacts::default()
        })
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

/// Which tasks of a run are run again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rerun {
    /// These, and what is behind them.
    From(Vec<String>),
    /// The task instances that failed, and what is behind them: the other instances of a mapped task stay, and
    /// in a mapped group what is behind is of the same map index.
    Failed,
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
