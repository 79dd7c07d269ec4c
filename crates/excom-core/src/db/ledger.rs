//! The ledger: who read what, and what rules would have refused.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attempt::Caller;
use crate::entry::Version;
use crate::{SequenceKey, TaskInstanceKey, XComKey};

/// What a read was of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReadTarget {
    /// One version of one XCom.
    Entry(XComKey, Version),
    /// A whole sequence, or part of it.
    Sequence(SequenceKey),
}

/// Reads of one target by one reader, to be added to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reads {
    /// Who read.
    pub reader: Caller,
    /// What.
    pub target: ReadTarget,
    /// How many times.
    pub count: u64,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LedgerRow {
    /// Who read, such as `task d/r/t` or `user ana`.
    pub reader: String,
    /// The reading task instance, when it was one that is still known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskInstanceKey>,
    /// The number of the reading attempt, when it was one.
    pub attempt: Option<u32>,
    /// What was read.
    pub target: ReadTarget,
    /// How many times.
    pub count: u64,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
}

/// How often a task did what a rule stands against, while the rules were only observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalCount {
    /// The rule, as it is set: `[xcom] reads = "run"`.
    pub rule: Arc<str>,
    /// The DAG of the task that it binds.
    pub dag_id: Arc<str>,
    /// The task.
    pub task_id: Arc<str>,
    /// What it read or wrote, as `DAG/TASK`, with `*` for any.
    pub target: String,
    /// How many times.
    pub count: u64,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
}
