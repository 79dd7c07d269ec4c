//! A run and its driver: it takes the run's lock, listens to Ctrl-C, tells what happens, and gives the report.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use excom_airflow::process::Supervisor;
use excom_core::db::RunFilter;
use excom_core::run::RunInfo;
use excom_core::{Engine, Error, ErrorKind, Result, RunState};
use excom_flow::runner::{JsonReporter, PlainReporter, Reporter, TestOptions, TestReport};
use excom_flow::{Cancellation, DagDefinition, RunReport, Runner};

use super::arguments::Work;
use super::live::Live;
use super::lock::{RunLock, Taken};
use crate::config::Settings;
use crate::embedded::Home;

/// How a program that was interrupted ends: 128 and the number of SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

/// How many runs are looked through for one that was interrupted.
const LOOKED_THROUGH: u32 = 1000;

/// What a DAG is run with.
pub(super) struct Driver<'a> {
    pub(super) engine: &'a Engine,
    pub(super) definition: &'a DagDefinition,
    pub(super) settings: &'a Settings,
    pub(super) parallelism: Option<usize>,
    /// Whether each task has a process of its own.
    pub(super) isolate: bool,
    /// Where JSON events go; without, what happens is told to people.
    pub(super) events: Option<File>,
}

impl Driver<'_> {
    /// Runs what is to be run, to its end.
    ///
    /// # Errors
    /// When it cannot start, or another program drives the run.
    pub(super) async fn drive(mut self, what: Work) -> Result<RunReport> {
        let reporter = reporter(self.events.take());
        let runner = self.runner()?.reporter(reporter);
        let (home, dag_id) = (Home::of(self.settings), self.definition.id());
        let cancellation = Cancellation::new();
        let listener = Listener::new(&cancellation);
        let report = match what {
            Work::New { run_id, logical_date, params } => {
                let run_id = run_id.unwrap_or_else(|| runner.new_run_id());
                let _lock = RunLock::take(&home, dag_id, &run_id)?;
                let options = Work::options(&run_id, logical_date, &params).cancellation(cancellation);
                runner.run(self.definition, options).await
            }
            Work::Resume(run_id) => {
                let (run_id, _lock) = match run_id {
                    Some(run_id) => (run_id.clone(), RunLock::take(&home, dag_id, &run_id)?),
                    None => self.interrupted(&home).await?,
                };
                runner.resume(self.definition, &run_id, cancellation).await
            }
            Work::Again { run_id, what } => {
                let run_id = self.run_or_newest(run_id).await?;
                let _lock = RunLock::take(&home, dag_id, &run_id)?;
                runner.rerun(self.definition, &run_id, what, cancellation).await
            }
        };
        drop(listener);
        report
    }

    /// Runs one task against a run.
    ///
    /// # Errors
    /// When there is no such run or task.
    pub(super) async fn test(
        &self,
        run_id: Option<String>,
        task_id: String,
        map_index: Option<u32>,
    ) -> Result<TestReport> {
        let cancellation = Cancellation::new();
        let _listener = Listener::new(&cancellation);
        let mut options = TestOptions::new(self.run_or_newest(run_id).await?, task_id)
            .cancellation(cancellation)
            .log(|line| drop(writeln!(io::stderr(), "{line}")));
        options.map_index = map_index;
        self.runner()?.test_task(self.definition, options).await
    }

    fn runner(&self) -> Result<Runner> {
        let home = Home::of(self.settings);
        // Commands may change their folder, and must find the same home.
        let folder = std::path::absolute(home.folder()).unwrap_or_else(|_| home.folder().to_owned());
        let core = &self.settings.core;
        let standard = usize::try_from(*core.parallelism).unwrap_or(usize::MAX);
        let runner = Runner::new(self.engine.clone())
            .logs(home.logs())
            .home(folder)
            .contracts(*self.settings.xcom.contracts)
            .parallelism(self.parallelism.unwrap_or(standard))
            .max_map_length(*core.max_map_length);
        Ok(match self.isolate {
            true => runner.isolation(Arc::new(Supervisor::of_this_program()?)),
            false => runner,
        })
    }

    /// The run that is named, or else the newest.
    ///
    /// # Errors
    /// When the DAG has no runs.
    async fn run_or_newest(&self, run_id: Option<String>) -> Result<String> {
        match run_id {
            Some(run_id) => Ok(run_id),
            None => newest_run(self.engine, self.definition.id()).await,
        }
    }

    /// The newest run that was interrupted and that nobody goes on with, with its lock.
    async fn interrupted(&self, home: &Home) -> Result<(String, RunLock)> {
        let dag_id = self.definition.id();
        let runs = runs(self.engine, dag_id, LOOKED_THROUGH).await?;
        let mut driven = None;
        for info in &runs {
            if !matches!(info.state, Some(RunState::Running | RunState::Cancelled)) {
                continue;
            }
            match RunLock::try_take(home, dag_id, &info.run.run_id)? {
                Taken::Lock(lock) => return Ok((info.run.run_id.to_string(), lock)),
                Taken::Held(_) => driven = driven.or(Some(&info.run.run_id)),
            }
        }
        let what = format!("DAG `{dag_id}` has no run that was interrupted");
        let error = Error::new(ErrorKind::InvalidRequest, what);
        Err(match (driven, runs.first()) {
            (Some(driven), _) => error.hint(format!("`{driven}` is being run by another program")),
            (None, Some(RunInfo { run, state: Some(state), .. })) => error
                .hint(format!("the newest, `{}`, ended: {state}", run.run_id))
                .hint("`rerun` runs tasks of an ended run again"),
            _ => error.hint("it has no runs yet"),
        })
    }
}

/// The newest runs of a DAG.
async fn runs(engine: &Engine, dag_id: &str, most: u32) -> Result<Vec<RunInfo>> {
    let filter = RunFilter { dag_id: Some(dag_id.into()), state: None };
    engine.db().runs(&filter, None, most).await
}

/// The newest run of a DAG.
///
/// # Errors
/// When it has none.
pub(super) async fn newest_run(engine: &Engine, dag_id: &str) -> Result<String> {
    match runs(engine, dag_id, 1).await?.pop() {
        Some(newest) => Ok(newest.run.run_id.to_string()),
        None => Err(Error::new(ErrorKind::InvalidRequest, format!("DAG `{dag_id}` has no runs yet"))
            .hint("run it first, or name another home with --home")),
    }
}

fn reporter(events: Option<File>) -> Arc<dyn Reporter> {
    match events {
        Some(events) => Arc::new(JsonReporter::new(events)),
        None if io::stderr().is_terminal() => Arc::new(Live::new()),
        None => Arc::new(PlainReporter::new(io::stderr())),
    }
}

/// Standard output for events alone: what tasks print goes to standard error from now on, so that it cannot get
/// in between.
///
/// # Errors
/// When the operating system refuses.
pub(super) fn claim_stdout() -> Result<File> {
    use std::os::fd::AsFd as _;
    let refused = |cause: io::Error| {
        Error::new(ErrorKind::Other, "standard output cannot be kept for events").because(cause)
    };
    let events = io::stdout().as_fd().try_clone_to_owned().map_err(refused)?;
    rustix::stdio::dup2_stdout(io::stderr()).map_err(|cause| refused(cause.into()))?;
    Ok(events.into())
}

/// Listens to Ctrl-C until it is dropped.
struct Listener(tokio::task::JoinHandle<()>);

impl Listener {
    fn new(cancellation: &Cancellation) -> Self {
        Self(tokio::spawn(interrupts(cancellation.clone())))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ctrl-C, or the end of the terminal or the service, ends the run cleanly; a second time, at once.
async fn interrupts(cancellation: Cancellation) {
    // Without signals there is nothing to listen to, and the run goes on.
    if interrupted().await.is_ok() {
        drop(writeln!(io::stderr(), "\nstopping: running tasks are ended; Ctrl-C again leaves at once"));
        cancellation.cancel();
        if interrupted().await.is_ok() {
            std::process::exit(INTERRUPTED.into());
        }
    }
}

async fn interrupted() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}
