//! Attempts and callers: who executes a task instance, and who asks the engine for something.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, ErrorKind, Result, TaskInstanceKey};

/// The opaque name of one execution of a task instance.
///
/// In Airflow it is the task instance's UUID, new for every try and kept over a deferral. Nothing is
/// ever read out of it; the try number is only a label beside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct AttemptId(pub Uuid);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Uuid::parse_str(text).map(Self).map_err(|_| {
            Error::new(ErrorKind::InvalidRequest, format!("`{text}` is not an attempt id"))
                .hint("an attempt id is a UUID, such as 019aa2b4-5c3e-7a10-8d6f-2f6b1c0a9e11")
        })
    }
}

/// The state of a task instance, in Airflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Known, waiting for what it depends on.
    Scheduled,
    /// Handed to an executor.
    Queued,
    /// An attempt runs.
    Running,
    /// Waiting for a trigger; the same attempt resumes.
    Deferred,
    /// Waiting for the next poke of the same attempt.
    UpForReschedule,
    /// The attempt failed and another will follow.
    UpForRetry,
    /// Finished well.
    Success,
    /// Finished badly.
    Failed,
    /// Chosen not to run.
    Skipped,
    /// Not run because something before it failed.
    UpstreamFailed,
    /// No longer part of the run: a mapped task shrank. Its XComs are not part of sequences.
    Removed,
}

impl TaskState {
    /// All states, in the order of their stored codes.
    pub const ALL: [Self; 11] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Deferred,
        Self::UpForReschedule,
        Self::UpForRetry,
        Self::Success,
        Self::Failed,
        Self::Skipped,
        Self::UpstreamFailed,
        Self::Removed,
    ];

    /// A stable small number for storage.
    pub fn to_code(self) -> i64 {
        self as i64
    }

    /// The inverse of [`TaskState::to_code`].
    pub fn from_code(code: i64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|i| Self::ALL.get(i)).copied()
    }

    /// Whether an attempt runs, or ran to its end: nobody may decide any more that it is not to.
    pub fn has_begun(self) -> bool {
        matches!(self, Self::Running | Self::Success | Self::Failed)
    }

    /// Whether the task instance will do nothing more by itself.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Skipped | Self::UpstreamFailed | Self::Removed)
    }

    /// Whether an attempt in this state does nothing more: it is finished, or another one is to follow.
    pub fn has_ended(self) -> bool {
        self.is_finished() || self == Self::UpForRetry
    }

    /// Airflow's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Deferred => "deferred",
            Self::UpForReschedule => "up_for_reschedule",
            Self::UpForRetry => "up_for_retry",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::UpstreamFailed => "upstream_failed",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A task instance as the metadata database knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskInstanceInfo {
    /// Which task instance.
    pub key: TaskInstanceKey,
    /// Its state.
    pub state: TaskState,
    /// The attempt that may write, once one has started.
    pub attempt: Option<AttemptInfo>,
}

/// One attempt of a task instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AttemptInfo {
    /// Its place among the task instance's attempts, from 1.
    pub number: u32,
    /// Its opaque id.
    pub id: AttemptId,
    /// The try number that it was labelled with.
    pub try_number: u32,
    /// How it stands, or how it ended.
    pub state: TaskState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
}

/// Who asks the engine for something. Every door makes one; every rule looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// An attempt of a task instance: fenced, and held to the access rules for tasks.
    Attempt(Attempt),
    /// A person or a program acting for one, by name.
    User(Arc<str>),
    /// Excom or its host itself: the named part of it.
    System(&'static str),
}

/// An attempt as a caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The task instance that it executes.
    pub ti: TaskInstanceKey,
    /// Its opaque id.
    pub id: AttemptId,
}

impl Caller {
    /// A person or program by name.
    pub fn user(name: impl Into<Arc<str>>) -> Self {
        Self::User(name.into())
    }

    /// An attempt of a task instance.
    pub fn attempt(ti: TaskInstanceKey, id: AttemptId) -> Self {
        Self::Attempt(Attempt { ti, id })
    }
}

impl From<Attempt> for Caller {
    fn from(attempt: Attempt) -> Self {
        Self::Attempt(attempt)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt(attempt) => write!(f, "task {}", attempt.ti),
            Self::User(name) => write!(f, "user {name}"),
            Self::System(part) => write!(f, "excom {part}"),
        }
    }
}
