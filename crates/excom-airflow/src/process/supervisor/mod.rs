//! The supervisor's side: it starts a process for one try, answers what the task asks, and says how it ended.
//!
//! Whatever the process does, the outcome is known and nothing of it is left.

mod child;
mod output;
mod peer;
mod serve;
mod startup;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use excom_core::{Error, ErrorKind, Result};
use excom_flow::Failure;
use excom_flow::runner::isolation::{Isolation, Outcome, TaskOrder};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use child::Child;
use output::Output;
use serve::Service;

/// Runs tries of tasks in processes of their own.
///
/// The program is started with `--comm=` and `--logs=`, as Airflow's supervisor starts a task binary; it
/// calls [`task::serve`](super::task::serve) first.
///
/// The process has a group of its own, and what is left of the group when it ends is killed. What a task that
/// ended in order started in another group stays.
///
/// ```no_run
/// use excom_airflow::process::Supervisor;
///
/// // The program that runs the DAG also runs its tasks.
/// let supervisor = Supervisor::of_this_program()?;
/// # drop(supervisor);
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Supervisor {
    program: Program,
    timeouts: Timeouts,
}

/// What is started.
#[derive(Debug, Clone)]
struct Program {
    path: PathBuf,
    /// What it is called in lists of processes.
    name: PathBuf,
}

/// How long a task's process may take for what is not the task itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From its start until it has connected; ten seconds unless told, as in Airflow.
    pub startup: Duration,
    /// From being asked to end until it is killed; fifteen seconds unless told, which lets a task's own
    /// commands end in order.
    pub kill: Duration,
    /// From saying how the task ended, or from closing the connection, until it exits; twenty seconds unless
    /// told, as in Airflow.
    pub exit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { startup: seconds(10), kill: seconds(15), exit: seconds(20) }
    }
}

/// How long what a process said and wrote before it ended is taken at most.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the end of a process may come behind the end of its connection.
const CLOSE_BEHIND: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Runs a program.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let path = program.into();
        Self { program: Program { name: path.clone(), path }, timeouts: Timeouts::default() }
    }

    /// Runs the program that this process is; where the system allows, as it was when it was started, also
    /// when its file has been replaced since.
    ///
    /// # Errors
    /// When the system does not tell where the program is.
    pub fn of_this_program() -> Result<Self> {
        let name = std::env::current_exe()
            .map_err(|e| Error::new(ErrorKind::Other, "where this program is cannot be seen").because(e))?;
        let itself = PathBuf::from("/proc/self/exe");
        let path = if itself.exists() { itself } else { name.clone() };
        Ok(Self { program: Program { path, name }, timeouts: Timeouts::default() })
    }

    /// The same with other timeouts.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    async fn supervise(&self, order: &TaskOrder) -> Result<Outcome> {
        let (comm, logs) = (listen().await?, listen().await?);
        let mut child = Child::spawn(&self.program, &comm, &logs)?;
        let output = Output::read(child.take_output(), &order.channel);
        let heard = Arc::new(Heard::default());
        let service = Service {
            startup: startup::details(order),
            channel: order.channel.clone(),
            heard: heard.clone(),
            process: child.process(),
            timeouts: self.timeouts,
        };
        let mut talk = Background(tokio::spawn(service.run(comm, logs)));

        let (status, stop) = self.wait(&mut child, &mut talk.0, order).await;
        // Whatever the task left behind in its process group ends with it.
        child.kill_group();
        let said = || heard.lock().outcome.clone();
        // A task that ended in order has ended what it does not want to outlive it.
        if stop.is_some() || said().is_none() {
            child.kill_strays();
        }
        if heard.lock().connected && !talk.0.is_finished() {
            // What it asked last is still done; it may have been a push.
            drop(timeout(DRAIN, &mut talk.0).await);
        }
        let logs = heard.lock().logs.take();
        if let Some(mut logs) = logs {
            drop(timeout(DRAIN, &mut logs.0).await);
        }
        let last_lines = output.finish(DRAIN).await;
        let unseen = |e| Error::new(ErrorKind::Other, "the end of the task's process is not seen").because(e);
        Ok(outcome(said(), stop, status.map_err(unseen)?, last_lines))
    }

    /// Waits until the process has ended, and ends it when it must; with the reason, if there was one.
    async fn wait(
        &self,
        child: &mut Child,
        talk: &mut JoinHandle<Result<()>>,
        order: &TaskOrder,
    ) -> (io::Result<ExitStatus>, Option<Stop>) {
        let late = async {
            match order.timeout {
                Some(limit) => {
                    sleep(limit).await;
                    timed_out(limit)
                }
                None => std::future::pending().await,
            }
        };
        let ordered = async {
            tokio::select! {
                () = order.run.cancellation.cancelled() => Stop::Ordered(cancelled()),
                failure = late => Stop::Ordered(failure),
            }
        };
        tokio::pin!(ordered);
        let ended = tokio::select! {
            biased;
            status = child.wait() => return (status, None),
            ended = talk => ended.unwrap_or_else(|e| Err(panicked(e))),
            stop = &mut ordered => return (child.terminate(self.timeouts.kill).await, Some(stop)),
        };
        let (grace, failure) = match ended {
            Ok(()) => (self.timeouts.exit, silent(self.timeouts.exit)),
            Err(error) => {
                order.channel.log(&error.to_string());
                (CLOSE_BEHIND, Failure::of(&error))
            }
        };
        tokio::select! {
            biased;
            // A process that crashes may break off inside of a frame, and the crash tells more.
            status = child.wait() => (status, None),
            stop = &mut ordered => (child.terminate(self.timeouts.kill).await, Some(stop)),
            () = sleep(grace) => (child.terminate(self.timeouts.kill).await, Some(Stop::Own(failure))),
        }
    }
}

/// Why the supervisor ended a process.
enum Stop {
    /// Somebody wants the task to end.
    Ordered(Failure),
    /// The process itself did what it must not.
    Own(Failure),
}

#[async_trait]
impl Isolation for Supervisor {
    async fn run(&self, order: TaskOrder) -> Outcome {
        self.supervise(&order).await.unwrap_or_else(|error| Outcome::Failed(Failure::of(&error)))
    }
}

async fn listen() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|e| {
        Error::new(ErrorKind::Other, "no socket for the task's process can be opened").because(e)
    })
}

/// What was heard from the task.
#[derive(Debug, Default)]
struct Heard(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Both connections are there.
    connected: bool,
    /// The tasks that it skips when it succeeds.
    skips: Vec<Arc<str>>,
    /// What it said of its end.
    outcome: Option<Outcome>,
    /// Who reads its log.
    logs: Option<Background<()>>,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all of it means: what the task said of its end counts. Only why it was made to fail is known better
/// here.
fn outcome(
    said: Option<Outcome>,
    stop: Option<Stop>,
    status: ExitStatus,
    last_lines: Vec<String>,
) -> Outcome {
    match (said, stop) {
        (None | Some(Outcome::Failed(_)), Some(Stop::Ordered(failure)))
        | (None, Some(Stop::Own(failure))) => Outcome::Failed(failure),
        (Some(outcome), _) => outcome,
        (None, None) => Outcome::Crashed(child::crash(status, last_lines)),
    }
}

fn cancelled() -> Failure {
    failure("the run was cancelled while the task ran", [])
}

fn timed_out(limit: Duration) -> Failure {
    let message = format!("the task took longer than its limit of {limit:?}, and was ended");
    failure(&message, ["give it more time, or less to do".to_owned()])
}

fn silent(grace: Duration) -> Failure {
    let message =
        format!("the task's process closed its connection and went on for {grace:?}, so it was ended");
    failure(&message, ["leave the connection open until the task has ended, and exit then".to_owned()])
}

/// A failure that is no error of ours.
fn failure(message: &str, hints: impl IntoIterator<Item = String>) -> Failure {
    Failure::of(&hints.into_iter().fold(Error::new(ErrorKind::Other, message), Error::hint))
}

fn panicked(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Other, "the supervisor itself failed").because(error)
}

/// Work of the runtime that ends with whoever started it.
struct Background<T>(JoinHandle<T>);

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> fmt::Debug for Background<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

#[cfg(test)]
mod tests;
