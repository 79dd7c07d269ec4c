//! What happens in a run, for those who watch it.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use excom_core::{TaskState, UNMAPPED};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::{Pushed, RunReport};
use crate::outcome::Failure;

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run starts.
    RunStarted {
        /// The DAG's id.
        dag_id: &'a Arc<str>,
        /// The run's id.
        run_id: &'a Arc<str>,
        /// How many tasks it has.
        tasks: usize,
        /// When, UTC.
        at: Timestamp,
    },
    /// A try of a task starts.
    TaskStarted {
        /// The task's id.
        task_id: &'a Arc<str>,
        /// The map index; −1 when it is not mapped.
        map_index: i32,
        /// Which try, from 1.
        try_number: u32,
        /// When, UTC.
        at: Timestamp,
    },
    /// A try failed, and another will follow.
    TaskRetry {
        /// The task's id.
        task_id: &'a Arc<str>,
        /// The map index; −1 when it is not mapped.
        map_index: i32,
        /// Which try failed.
        try_number: u32,
        /// How many tries there may be.
        tries: u32,
        /// Why it failed.
        failure: &'a Failure,
        /// How long the try took.
        #[serde(serialize_with = "milliseconds", rename = "duration_ms")]
        duration: SignedDuration,
        /// How long until the next.
        #[serde(serialize_with = "milliseconds", rename = "delay_ms")]
        delay: SignedDuration,
        /// The try's log.
        log: Option<&'a Path>,
    },
    /// A mapped task, or a task of a mapped group, has its instances.
    TaskExpanded {
        /// The task's id.
        task_id: &'a Arc<str>,
        /// How many.
        instances: u32,
    },
    /// A task instance was done before, in the run that this one goes on with.
    TaskKept {
        /// The task's id.
        task_id: &'a Arc<str>,
        /// The map index; −1 when it is not mapped.
        map_index: i32,
        /// How it had ended.
        state: TaskState,
    },
    /// A task instance is done, will not run, or was interrupted (state `scheduled`).
    TaskFinished {
        /// The task's id.
        task_id: &'a Arc<str>,
        /// The map index; −1 when it is not mapped.
        map_index: i32,
        /// How it ended.
        state: TaskState,
        /// The last try; 0 when it never started.
        try_number: u32,
        /// How long the last try took.
        #[serde(serialize_with = "milliseconds", rename = "duration_ms")]
        duration: SignedDuration,
        /// What the last try pushed.
        pushed: &'a [Pushed],
        /// Why it failed or was skipped.
        failure: Option<&'a Failure>,
        /// The last try's log.
        log: Option<&'a Path>,
    },
    /// The run is over.
    RunFinished {
        /// What became of it.
        #[serde(flatten)]
        report: &'a RunReport,
    },
}

pub(super) fn milliseconds<S: Serializer>(
    duration: &SignedDuration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    // Microseconds are where clocks begin to mean something.
    serializer.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

/// Somebody who is told what happens in a run, while it happens. Must not block for long.
pub trait Reporter: Send + Sync {
    /// Something happened.
    fn report(&self, event: &Event<'_>);
}

/// A line of text for each thing that happens.
pub struct PlainReporter<W>(Mutex<W>);

impl<W> fmt::Debug for PlainReporter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainReporter")
    }
}

impl<W: Write + Send> PlainReporter<W> {
    /// Writes lines to a writer, such as `std::io::stderr()`.
    pub fn new(writer: W) -> Self {
        Self(Mutex::new(writer))
    }
}

impl<W: Write + Send> Reporter for PlainReporter<W> {
    fn report(&self, event: &Event<'_>) {
        let mut text = plain(event);
        text.push('\n');
        // Nobody is left to tell when standard error is gone.
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes()));
    }
}

fn plain(event: &Event<'_>) -> String {
    match event {
        Event::RunStarted { dag_id, run_id, tasks, .. } => {
            format!("run {dag_id} {run_id}: {tasks} task{}", if *tasks == 1 { "" } else { "s" })
        }
        Event::TaskStarted { task_id, map_index, try_number: 1, .. } => {
            format!("{}: started", name(task_id, *map_index))
        }
        Event::TaskStarted { task_id, map_index, try_number, .. } => {
            format!("{}: try {try_number} started", name(task_id, *map_index))
        }
        Event::TaskRetry { task_id, map_index, try_number, tries, failure, delay, .. } => {
            let (name, delay) = (name(task_id, *map_index), seconds(*delay));
            format!("{name}: try {try_number} of {tries} failed, next in {delay}: {failure}")
        }
        Event::TaskExpanded { task_id, instances } => format!("{task_id}: {instances} instances"),
        Event::TaskKept { task_id, map_index, state } => {
            format!("{}: {state} before", name(task_id, *map_index))
        }
        Event::TaskFinished { task_id, map_index, state, duration, pushed, failure, log, try_number } => {
            let mut text = format!("{}: {state}", name(task_id, *map_index));
            if *try_number > 0 {
                text.push_str(&format!(" in {}", seconds(*duration)));
            }
            for pushed in *pushed {
                text.push_str(&format!("\n    {pushed}"));
            }
            if let Some(failure) = failure {
                failure.lines().for_each(|line| text.push_str(&format!("\n    {line}")));
            }
            if let (Some(log), TaskState::Failed) = (log, state) {
                text.push_str(&format!("\n    log: {}", log.display()));
            }
            text
        }
        Event::RunFinished { report } => {
            let mut text = format!(
                "run {} {}: {} in {}",
                report.dag_id,
                report.run_id,
                report.state,
                seconds(report.duration)
            );
            for warning in &report.warnings {
                text.push_str(&format!("\n    warning: {warning}"));
            }
            text
        }
    }
}

/// A task instance for people: `hottest[3]`.
fn name(task_id: &str, map_index: i32) -> String {
    if map_index == UNMAPPED { task_id.to_owned() } else { format!("{task_id}[{map_index}]") }
}

fn seconds(duration: SignedDuration) -> String {
    let millis = duration.as_micros() as f64 / 1000.0;
    if millis < 1000.0 { format!("{millis:.1} ms") } else { format!("{:.1} s", millis / 1000.0) }
}

/// A JSON object in a line for each thing that happens.
pub struct JsonReporter<W>(Mutex<W>);

impl<W> fmt::Debug for JsonReporter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonReporter")
    }
}

impl<W: Write + Send> JsonReporter<W> {
    /// Writes lines to a writer, such as `std::io::stdout()`.
    pub fn new(writer: W) -> Self {
        Self(Mutex::new(writer))
    }
}

impl<W: Write + Send> Reporter for JsonReporter<W> {
    fn report(&self, event: &Event<'_>) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line));
    }
}
