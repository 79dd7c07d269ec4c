//! What a runner says to somebody who runs tries elsewhere, in a process of their own, and hears back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use excom_core::{AttemptId, Error, ErrorKind, TaskChannel, TaskInstanceKey, Value, XComKey};
use jiff::Timestamp;

use super::recorder::Recorder;
use crate::dag::Graph;
use crate::instance::{Resumed, RunFacts, TaskFacts, TaskInstance};
use crate::operator::SensorTimeout;
use crate::outcome::{Failure, Reschedule, Result, Skip};

/// Somebody who runs tries of tasks apart from the runner.
#[async_trait]
pub trait Isolation: Send + Sync + fmt::Debug {
    /// Runs one try to its end. What goes wrong, with the task or around it, is the outcome.
    ///
    /// When the run's cancellation is cancelled, or the time is over, the try is ended. Dropping the future
    /// kills it.
    async fn run(&self, order: TaskOrder) -> Outcome;
}

/// One try that is to be run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskOrder {
    /// Which task instance.
    pub key: TaskInstanceKey,
    /// Which attempt.
    pub attempt: AttemptId,
    /// Which try, from 1.
    pub try_number: u32,
    /// How many times it may be tried again after the first try.
    pub retries: u32,
    /// When the try started, UTC.
    pub started_at: Timestamp,
    /// How it came to run again, when it had let its place go.
    pub resumed: Resumed,
    /// What all task instances of the run share.
    pub run: Arc<RunFacts>,
    /// The way to the engine, as this attempt.
    pub channel: Arc<dyn TaskChannel>,
    /// How many instances a task may have that is expanded over what this one returns.
    pub max_map_length: u32,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// The limit of the length of sequences unless told, as in Airflow.
const MAX_MAP_LENGTH: u32 = 1024;

impl TaskOrder {
    /// The first and only try of a task instance, in a run of its own, that may take as long as it likes.
    pub fn new(
        key: TaskInstanceKey,
        attempt: AttemptId,
        started_at: Timestamp,
        channel: Arc<dyn TaskChannel>,
    ) -> Self {
        Self {
            key,
            attempt,
            try_number: 1,
            retries: 0,
            started_at,
            resumed: Resumed::default(),
            run: Arc::new(RunFacts::default()),
            channel,
            max_map_length: MAX_MAP_LENGTH,
            timeout: None,
        }
    }

    /// Whether a failure of this try is followed by another try.
    pub fn should_retry(&self) -> bool {
        self.try_number <= self.retries
    }
}

/// What a try leaves to be done when its body ended well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// What is to be pushed, in this order.
    pub pushes: Vec<(XComKey, Value)>,
    /// The ids of the tasks behind it that are to be skipped.
    pub skips: Vec<Arc<str>>,
    /// Whether tasks are expanded over what it returned; Airflow is told the length with the value.
    pub mapped_over: bool,
}

/// Runs a task where it was sent to: its arguments are pulled over the task instance's channel, its body runs,
/// and what remains is what it leaves.
///
/// # Errors
/// What the body says, and what keeps it from running.
#[doc(hidden)]
pub async fn execute(graph: &Graph, ti: TaskInstance, max_map_length: u32) -> Result<Done> {
    let number = graph.number(ti.task_id()).ok_or("the DAG has no such task")?;
    let task = &graph.tasks()[number as usize];
    // Whoever starts it hides secrets too, but not the part of one that is left of a line when it was cut here.
    let recorder = Recorder::new(ti.channel().clone(), ti.key().clone());
    let ti = ti.over(Arc::new(recorder)).with_pushes(task.settings().do_xcom_push);
    let executed = super::execute::execute(graph, number, &ti, None, max_map_length).await?;
    let id = |task: &u32| graph.tasks()[*task as usize].shared_id().clone();
    Ok(Done {
        pushes: executed.pushes,
        skips: executed.skips.iter().map(id).collect(),
        mapped_over: task.gives_length,
    })
}

/// What a DAG says of a task, for the templates of a try that started then.
///
/// # Errors
/// When the DAG has no such task.
#[doc(hidden)]
pub fn task_facts(
    graph: &Graph,
    task_id: &str,
    resumed: Resumed,
    started_at: Timestamp,
) -> excom_core::Result<TaskFacts> {
    let task = graph.task(task_id).ok_or_else(|| crate::error::invalid("the DAG has no such task"))?;
    let mut facts = graph.facts(task);
    (facts.reschedules, facts.start_date) = (resumed.times, Some(started_at));
    Ok(facts)
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The body returned.
    Succeeded(Done),
    /// The task chose not to run.
    Skipped(Skip),
    /// It looks again after a while, as the same try.
    Reschedule(Reschedule),
    /// What it waited for did not come in its time, so it is not tried again.
    TimedOut(SensorTimeout),
    /// It failed and said why, or it was ended because its time was over or the run cancelled.
    Failed(Failure),
    /// Its process ended without a word.
    Crashed(Crash),
}

impl Outcome {
    /// The outcome in the words of a body's own result: what an isolated try is to a runner, nothing but a
    /// try.
    ///
    /// # Errors
    /// [`Skip`], [`Reschedule`] and [`SensorTimeout`] as such; a failure or a crash with its message and hints.
    pub fn into_result(self) -> Result<Done> {
        let error = |message: String| Error::new(ErrorKind::Other, message);
        match self {
            Self::Succeeded(done) => Ok(done),
            Self::Skipped(skip) => Err(skip.into()),
            Self::Reschedule(reschedule) => Err(reschedule.into()),
            Self::TimedOut(timeout) => Err(timeout.into()),
            Self::Failed(failure) => {
                Err(failure.hints.into_iter().fold(error(failure.message), Error::hint).into())
            }
            Self::Crashed(crash) => Err(error(crash.to_string()).hint(crash.hint()).into()),
        }
    }
}

/// A process that ended without saying how its task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// The code that it exited with.
    pub exit_code: Option<i32>,
    /// The last lines that it wrote to its standard error.
    pub last_lines: Vec<String>,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.signal, self.exit_code) {
            (Some(signal), _) => {
                write!(f, "the task's process was killed by signal {signal}")?;
                match name(signal) {
                    Some(name) => write!(f, " ({name})")?,
                    None if signal == KILL => f.write_str(", perhaps for lack of memory")?,
                    None => (),
                }
            }
            (None, Some(code)) => {
                write!(
                    f,
                    "the task's process ended with exit code {code} and did not say how the task ended"
                )?;
            }
            (None, None) => f.write_str("the task's process ended in an unknown way")?,
        }
        self.last_lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Crash {
    /// What to do about it.
    fn hint(&self) -> &'static str {
        match (self.signal, self.exit_code) {
            (Some(KILL), _) => {
                "the system's log tells whether memory ran out; then run fewer tasks at the same time, or let the \
                 task take less"
            }
            (Some(_), _) => "it is a fault in native code that the task uses, or an `abort` in it",
            _ => "return an error instead of leaving the process, so that the reason is known",
        }
    }
}

const KILL: i32 = 9;

/// What a signal that a process brings upon itself means.
fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        2 => "interrupted",
        4 => "illegal instruction",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic error",
        11 => "segmentation fault",
        15 => "asked to end",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_says_what_it_was() {
        let crash =
            |signal, exit_code| Crash { signal, exit_code, last_lines: vec!["free(): invalid".into()] };
        let text = crash(Some(6), None).to_string();
        assert_eq!(text, "the task's process was killed by signal 6 (abort)\n  free(): invalid");
        let text = crash(Some(9), None).to_string();
        assert!(
            text.starts_with("the task's process was killed by signal 9, perhaps for lack of memory"),
            "{text}"
        );
        let text = crash(None, Some(3)).to_string();
        assert!(text.contains("exit code 3 and did not say how"), "{text}");
    }

    #[test]
    fn an_outcome_is_a_result() {
        assert_eq!(Outcome::Succeeded(Done::default()).into_result().unwrap(), Done::default());
        let later = Outcome::Reschedule(Reschedule::after(Duration::ZERO)).into_result().unwrap_err();
        assert!(later.is::<Reschedule>());
        let skip = Outcome::Skipped(Skip::because("no rows")).into_result().unwrap_err();
        assert!(skip.is::<Skip>());
        let failure = Failure::of(&Error::new(ErrorKind::Full, "no").hint("try"));
        let error = Outcome::Failed(failure.clone()).into_result().unwrap_err();
        assert_eq!(Failure::of(&*error), failure);
        let crash = Crash { signal: None, exit_code: Some(3), last_lines: Vec::new() };
        let failure = Failure::of(&*Outcome::Crashed(crash).into_result().unwrap_err());
        assert!(failure.message.contains("exit code 3") && failure.hints.len() == 1, "{failure:?}");
    }
}
