//! The task's side: a program that was started as one try of one task.
//!
//! A program's `main` calls [`serve`] first. Started by a supervisor, with `--comm=` and `--logs=`, it runs the
//! task that it is told and ends; started otherwise, it goes on.

mod addresses;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result, TaskChannel as _, TaskInstanceKey};
use excom_flow::runner::isolation::{self, Done};
use excom_flow::{
    Cancellation, DagDefinition, Failure, Given, Graph, Reschedule, Resumed, RunFacts, SensorTimeout, Skip,
    TaskInstance,
};
use jiff::Timestamp;
use pollster::block_on;
use tokio::signal::unix::{SignalKind, signal};

use addresses::Addresses;

use super::channel::SupervisorChannel;
use super::extension::{Announcement, End, Ending};
use super::frame::{self, Frame};
use super::message::{FinalState, Producer, Reply, Request, Skipped, StartupDetails};

/// The longest reason for a retry that Airflow takes, in characters.
const LONGEST_REASON: usize = 500;

/// How long a task may go on that was told to end: a little longer than its commands get.
const LAST_GRACE: Duration = Duration::from_secs(20);

/// What Airflow calls in a task that is started only to fail.
const FAIL: &str = "__fail__";

/// The limit of the length of sequences in Airflow, unless it is set to another, which it does not tell.
const AIRFLOW_MAX_MAP_LENGTH: u32 = 1024;

/// What a program is to run when it was started as a task.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Assignment {
    /// The DAG.
    pub graph: Graph,
    /// Which of its tasks.
    pub task_id: Arc<str>,
    /// The task instance, over the supervisor's channel.
    pub ti: TaskInstance,
    /// How many instances a task may have that is expanded over what this one returns.
    pub max_map_length: u32,
}

/// Runs a task, if the process was started as one, and says how the process is to end.
///
/// The body pulls what the task takes and runs it; what it leaves to be pushed is pushed when it has ended
/// well, with its end. A panic in it is a failure, [`Skip`] and [`Reschedule`] are no failures.
///
/// The exit code is 0 when the supervisor heard how the task ended, however that was.
///
/// ```
/// use excom_airflow::process::task;
/// use excom_flow::DagDefinition;
/// use excom_flow::runner::isolation::Done;
///
/// let definitions = [DagDefinition::new("hello", |dag| {
///     dag.bash("greet", "echo hello");
/// })];
/// let ended = task::serve(&definitions, |task| async move {
///     task.ti.log(&format!("{} runs", task.task_id));
///     Ok(Done::default())
/// });
/// // No supervisor started this process, so it goes on.
/// assert!(ended.is_none());
/// ```
pub fn serve<B, F>(definitions: &[DagDefinition], body: B) -> Option<ExitCode>
where
    B: FnOnce(Assignment) -> F + Send + 'static,
    F: Future<Output = excom_flow::Result<Done>> + Send + 'static,
{
    serve_as(std::env::args_os().skip(1), definitions, body)
}

/// [`serve`] with other arguments than the process's own.
#[doc(hidden)]
pub fn serve_as<B, F>(
    arguments: impl Iterator<Item = OsString>,
    definitions: &[DagDefinition],
    body: B,
) -> Option<ExitCode>
where
    B: FnOnce(Assignment) -> F + Send + 'static,
    F: Future<Output = excom_flow::Result<Done>> + Send + 'static,
{
    let ended = Addresses::read(arguments)?.and_then(|addresses| run(addresses, definitions, body));
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What cannot be said to the supervisor is said here; it shows the last lines of a crash.
            drop(writeln!(std::io::stderr(), "{error:?}"));
            ExitCode::FAILURE
        }
    })
}

fn run<B, F>(addresses: Addresses, definitions: &[DagDefinition], body: B) -> Result<()>
where
    B: FnOnce(Assignment) -> F + Send + 'static,
    F: Future<Output = excom_flow::Result<Done>> + Send + 'static,
{
    // First of all, because a supervisor waits for it and for nothing else.
    let (mut comm, logs) = (connect(addresses.comm)?, connect(addresses.logs)?);
    let startup = read_startup(&mut comm)?;
    startup.excom.as_ref().map_or(Ok(()), Announcement::check)?;
    let cancellation = Cancellation::new();
    let is_ours = startup.excom.is_some();
    let mut channel = SupervisorChannel::new(comm, logs, is_ours, cancellation.clone())?;
    if let Some(ours) = &startup.excom {
        channel.set_secret_keys(&ours.secret_keys);
    }
    let channel = Arc::new(channel);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Other, "the task's runtime cannot start").because(e))?;
    let (running, ended) = mpsc::channel();
    end_for_certain(cancellation.clone(), ended);
    let told = runtime.block_on(async {
        signals(&cancellation);
        let task = Task { startup, channel: channel.clone(), cancellation };
        let result = task.run(definitions, body).await;
        match task.end(result).await {
            // What cannot be said, or is refused, makes the try fail.
            Err(error) if error.kind() != ErrorKind::Unavailable => task.end(Err(error.into())).await,
            told => told,
        }
    });
    if let Err(error) = &told {
        channel.write_log("error", &format!("the supervisor was not told how the task ended: {error}"));
    }
    channel.close();
    // The thread of a body that was cancelled ends with the process.
    runtime.shutdown_background();
    drop(running);
    if is_ours && told.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
        end_group();
    }
    told
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let failed = |e| {
        Error::new(ErrorKind::Unavailable, format!("the supervisor at {address} cannot be reached"))
            .because(e)
    };
    let stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

fn read_startup(comm: &mut TcpStream) -> Result<StartupDetails> {
    let payload = frame::read(comm)?.ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, "the supervisor closed the connection before it said what to run")
    })?;
    match frame::message(Frame::decode(&payload)?.body)? {
        Reply::StartupDetails(startup) => Ok(*startup),
        _ => Err(Error::new(ErrorKind::Incompatible, "the supervisor did not begin with StartupDetails")),
    }
}

/// Ends the process a while after it was told to end, whatever its threads do: nobody else may be left to do
/// it.
fn end_for_certain(cancellation: Cancellation, ended: mpsc::Receiver<()>) {
    let end = move || {
        block_on(cancellation.cancelled());
        if ended.recv_timeout(LAST_GRACE) == Err(mpsc::RecvTimeoutError::Timeout) {
            end_group();
            std::process::exit(1);
        }
    };
    // Without the thread there is still the supervisor.
    drop(std::thread::Builder::new().name("last-grace".to_owned()).spawn(end));
}

/// Kills the process and what the task left in its group, which a supervisor would do that is still there.
fn end_group() {
    let own = rustix::process::getpid();
    // A group that somebody else leads is not the task's.
    if rustix::process::getpgrp() == own {
        let _ = rustix::process::kill_process_group(own, rustix::process::Signal::KILL);
    }
}

/// Cancels the task when the process is asked to end.
fn signals(cancellation: &Cancellation) {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        // Without a handler the signal ends the process, as it does by default.
        let Ok(mut signals) = signal(kind) else { continue };
        let cancellation = cancellation.clone();
        tokio::spawn(async move {
            signals.recv().await;
            cancellation.cancel();
        });
    }
}

/// The try that the process is.
struct Task {
    startup: StartupDetails,
    channel: Arc<SupervisorChannel>,
    cancellation: Cancellation,
}

impl Task {
    async fn run<B, F>(&self, definitions: &[DagDefinition], body: B) -> excom_flow::Result<Done>
    where
        B: FnOnce(Assignment) -> F + Send + 'static,
        F: Future<Output = excom_flow::Result<Done>> + Send + 'static,
    {
        let key = self.startup.key()?;
        let definition = find_dag(definitions, &key)?;
        let graph = definition.graph()?;
        check_task(&graph, &key)?;
        if self.startup.ti_context.next_method.as_deref() == Some(FAIL) {
            let why =
                self.startup.ti_context.next_kwargs.as_ref().map_or(String::new(), |why| format!(": {why}"));
            return Err(format!("what the task waited for failed{why}").into());
        }
        self.clear(&key).await?;
        let (resumed, started_at) = (self.resumed(), self.startup.start_date);
        let task_facts = isolation::task_facts(&graph, &key.task_id, resumed, started_at)?;
        let mut ti = TaskInstance::new(self.channel.clone(), key.clone())
            .in_run(Arc::new(self.facts(definition, &graph)?))
            .as_resumed(resumed)
            .of_task(Arc::new(task_facts));
        if let Ok(attempt) = self.startup.ti.id.parse() {
            ti = ti.as_try(attempt, self.startup.ti.try_number);
        }
        // A task of the runtime, so that a panic ends only it.
        let max_map_length =
            self.startup.excom.as_ref().map_or(AIRFLOW_MAX_MAP_LENGTH, |ours| ours.max_map_length);
        let running =
            tokio::spawn(body(Assignment { graph, task_id: key.task_id.clone(), ti, max_map_length }));
        match running.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(panicked(&*error.into_panic()).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what earlier tries pushed, where the supervisor leaves that to the task.
    async fn clear(&self, key: &TaskInstanceKey) -> Result<()> {
        for name in &self.startup.ti_context.xcom_keys_to_clear {
            let of = Producer::of(&key.xcom(&**name)?);
            let map_index = Some(key.map_index);
            self.channel.ask(&Request::DeleteXCom { of, map_index }).await?;
        }
        Ok(())
    }

    /// What the task knows of its run: all of it from our own supervisor, and from Airflow's what it tells.
    fn facts(&self, definition: &DagDefinition, graph: &Graph) -> Result<RunFacts> {
        let mut facts = match &self.startup.excom {
            Some(ours) => {
                let mut facts = ours.run.facts();
                facts.contract = ours.run.contracts.map(|_| Arc::new(graph.contract()));
                facts
            }
            None => self.airflow_facts(definition)?,
        };
        facts.cancellation = self.cancellation.clone();
        Ok(facts)
    }

    fn airflow_facts(&self, definition: &DagDefinition) -> Result<RunFacts> {
        let run = &self.startup.ti_context.dag_run;
        let mut facts = RunFacts::default();
        facts.logical_date = run.logical_date;
        facts.data_interval = run.data_interval_start.zip(run.data_interval_end);
        (facts.run_after, facts.start_date) = (Some(run.run_after), run.start_date);
        facts.run_type = Some((*run.run_type).into());
        facts.conf = run.conf.as_ref().map(|conf| conf.0.clone());
        facts.template_searchpath = definition.template_folders().to_vec();
        facts.native_templates = definition.native_templates();
        let conf = facts.conf.clone().unwrap_or_else(excom_core::Value::null);
        facts.params = definition.resolve(&given(definition, &conf)?)?;
        Ok(facts)
    }

    /// How the try came to run again, when it had let its place go.
    fn resumed(&self) -> Resumed {
        if let Some(ours) = &self.startup.excom {
            return ours.resumed.into();
        }
        let times = self.startup.ti_context.task_reschedule_count;
        // Airflow tells when the try started first, however often it went on.
        let waited = Timestamp::now().duration_since(self.startup.start_date);
        let after = if times > 0 { waited.try_into().unwrap_or_default() } else { Duration::ZERO };
        Resumed { times, after }
    }

    /// Tells how the task ended, and waits until the supervisor has heard it.
    async fn end(&self, result: excom_flow::Result<Done>) -> Result<()> {
        if self.channel.is_extended() {
            return self.channel.ask(&Request::ExcomEnd(End { end: Ending::of(result) })).await.map(drop);
        }
        let done = match result {
            Ok(done) => self.leave(done).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        let end_date = Timestamp::now();
        let Err(error) = done else {
            let (task_outlets, outlet_events, rendered_map_index) = (Vec::new(), Vec::new(), None);
            let success = Request::SucceedTask { end_date, task_outlets, outlet_events, rendered_map_index };
            return self.channel.ask(&success).await.map(drop);
        };
        let failure = Failure::of(&*error);
        let ending = if error.is::<Skip>() {
            self.channel.write_log("info", &failure.message);
            Request::TaskState { state: FinalState::Skipped, end_date: Some(end_date) }
        } else if let Some(reschedule) = error.downcast_ref::<Reschedule>() {
            let reschedule_date = end_date.checked_add(reschedule.delay()).unwrap_or(Timestamp::MAX);
            Request::RescheduleTask { reschedule_date, end_date }
        } else {
            self.channel.write_log("error", &failure.message);
            failure.hints.iter().for_each(|hint| self.channel.write_log("error", &format!("hint: {hint}")));
            // What did not come in its time is not waited for again.
            if self.startup.ti_context.should_retry && !error.is::<SensorTimeout>() {
                let reason = failure.message.chars().take(LONGEST_REASON).collect();
                Request::RetryTask { end_date, retry_delay_seconds: None, retry_reason: Some(reason) }
            } else {
                Request::TaskState { state: FinalState::Failed, end_date: Some(end_date) }
            }
        };
        self.channel.ask(&ending).await.map(drop)
    }

    /// Pushes and skips what is left to be pushed and skipped, one by one, as Airflow's supervisor takes it.
    async fn leave(&self, done: Done) -> Result<()> {
        self.channel.set_mapped_over(done.mapped_over);
        for (key, value) in done.pushes {
            self.channel.push(&key, value.into()).await?;
        }
        if done.skips.is_empty() {
            return Ok(());
        }
        let tasks = done.skips.iter().map(|task_id| Skipped::Task((**task_id).to_owned())).collect();
        self.channel.ask(&Request::SkipDownstreamTasks { tasks }).await.map(drop)
    }
}

/// What the run was triggered with, of the parameters that the DAG has: Airflow lets anything be given.
fn given(definition: &DagDefinition, conf: &excom_core::Value) -> Result<BTreeMap<String, Given>> {
    if conf.is_null() {
        return Ok(BTreeMap::new());
    }
    let conf: BTreeMap<String, &serde_json::value::RawValue> =
        serde_json::from_str(conf.as_str()).map_err(|e| {
            Error::new(ErrorKind::InvalidValue, "the run's configuration is not a dict").because(e)
        })?;
    let known = conf.into_iter().filter(|(name, _)| definition.params().iter().any(|spec| spec.name == name));
    known.map(|(name, value)| Ok((name, excom_core::Value::parse(value.get().to_owned())?.into()))).collect()
}

fn find_dag<'a>(definitions: &'a [DagDefinition], key: &TaskInstanceKey) -> Result<&'a DagDefinition> {
    definitions.iter().find(|definition| definition.id() == &*key.dag_id).ok_or_else(|| {
        let message = format!("this program has no DAG `{}`", key.dag_id);
        Error::new(ErrorKind::InvalidRequest, message)
            .hint(format!("it has {}", listing(definitions.iter().map(DagDefinition::id))))
    })
}

fn check_task(graph: &Graph, key: &TaskInstanceKey) -> Result<()> {
    if graph.tasks().iter().any(|task| task.id() == &*key.task_id) {
        return Ok(());
    }
    let message = format!("DAG `{}` of this program has no task `{}`", key.dag_id, key.task_id);
    Err(Error::new(ErrorKind::InvalidRequest, message)
        .hint(format!("it has {}", listing(graph.tasks().iter().map(excom_flow::Task::id)))))
}

fn listing<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let said =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(|text| &**text));
    Error::new(ErrorKind::Other, format!("the task panicked: {}", said.unwrap_or("it says nothing")))
}

#[cfg(test)]
mod tests;
