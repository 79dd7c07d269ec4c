//! DAG runs and DAG versions: what the metadata database knows beside task instances.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::value::Value;

/// A DAG run: what tells it from other runs, and what it was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagRun {
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The run's id.
    pub run_id: Arc<str>,
    /// The date that it is for, if any.
    pub logical_date: Option<Timestamp>,
    /// When it was due.
    pub run_after: Timestamp,
    /// Its parameters, as a JSON dict, as far as they are known.
    pub conf: Option<Value>,
    /// The version of the DAG that it runs, if it has versions.
    pub version: Option<Arc<str>>,
}

impl DagRun {
    /// A run without a logical date, of which no more is known than when it was due.
    ///
    /// ```
    /// use excom_core::run::DagRun;
    ///
    /// let due = "2026-11-21T10:00:00Z".parse()?;
    /// let run = DagRun { logical_date: Some(due), ..DagRun::new("weather", "manual__1", due) };
    /// assert_eq!(run.date(), due);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(dag_id: impl Into<Arc<str>>, run_id: impl Into<Arc<str>>, run_after: Timestamp) -> Self {
        let (dag_id, run_id) = (dag_id.into(), run_id.into());
        Self { dag_id, run_id, logical_date: None, run_after, conf: None, version: None }
    }

    /// What orders runs by date: the logical date, or else when the run was due.
    pub fn date(&self) -> Timestamp {
        self.logical_date.unwrap_or(self.run_after)
    }

    /// What puts all runs in one order, by date.
    pub fn order(&self) -> (Timestamp, &str, &str) {
        (self.date(), &self.dag_id, &self.run_id)
    }
}

/// The state of a DAG run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on, or whoever drove it was killed.
    Running,
    /// It ended well.
    Success,
    /// It ended, and a task had failed.
    Failed,
    /// It was told to stop before its end.
    Cancelled,
}

impl RunState {
    /// All states, in the order of their stored codes.
    pub const ALL: [Self; 4] = [Self::Running, Self::Success, Self::Failed, Self::Cancelled];

    /// A stable small number for storage.
    pub fn to_code(self) -> i64 {
        self as i64
    }

    /// The inverse of [`RunState::to_code`].
    pub fn from_code(code: i64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|i| Self::ALL.get(i)).copied()
    }

    /// Whether the run is over.
    pub fn is_finished(self) -> bool {
        self != Self::Running
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A DAG run as the metadata database knows it.
///
/// One that is known only because something was pushed into it has no state and no times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// The run.
    pub run: DagRun,
    /// Its state, once it was started.
    pub state: Option<RunState>,
    /// When it was started first.
    pub started_at: Option<Timestamp>,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
}

/// Which runs a list shows. Absent parts match everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFilter {
    /// Exact DAG id.
    pub dag_id: Option<Arc<str>>,
    /// Exact state.
    pub state: Option<RunState>,
}

/// A version of a DAG: how it was when runs of it were started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagVersion {
    /// Its name, which is unique for the DAG.
    pub version: Arc<str>,
    /// What describes it, as JSON.
    pub document: Value,
    /// When it was seen first.
    pub seen_at: Timestamp,
}
