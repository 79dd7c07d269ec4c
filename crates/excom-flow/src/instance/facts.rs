//! What a task instance knows of its run and of its task, apart from its key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use excom_core::Value;
use jiff::Timestamp;

use crate::cancel::Cancellation;
use crate::contract::{Contract, Contracts};
use crate::params::Params;

/// What all task instances of a run share.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunFacts {
    /// The parameters.
    pub params: Params,
    /// The date that the run is for, if any.
    pub logical_date: Option<Timestamp>,
    /// The time that the run is about, from its start to before its end. Without, it is the moment of the
    /// logical date.
    pub data_interval: Option<(Timestamp, Timestamp)>,
    /// When the run was to start; without, the logical date.
    pub run_after: Option<Timestamp>,
    /// When the run started.
    pub start_date: Option<Timestamp>,
    /// What started it (`manual`, `scheduled`, `backfill`, …); without, `manual`.
    pub run_type: Option<Arc<str>>,
    /// What whoever started the run gave it: a dict.
    pub conf: Option<Value>,
    /// The last run of the DAG before this one that succeeded.
    pub previous_success: Option<PreviousRun>,
    /// The folders in which template files are; without, the current folder.
    pub template_searchpath: Vec<PathBuf>,
    /// Whether templates become values rather than text (`render_template_as_native_obj`).
    pub native_templates: bool,
    /// Where Excom keeps its data, for commands that a task starts.
    pub home: Option<PathBuf>,
    /// Tells that the run is to stop.
    pub cancellation: Cancellation,
    /// What the DAG's tasks declare about what they push, if that is checked.
    pub contract: Option<Arc<Contract>>,
    /// What happens to a push of another type.
    pub contracts: Contracts,
}

/// An earlier run of the DAG.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PreviousRun {
    /// When it started.
    pub start_date: Option<Timestamp>,
    /// When it ended.
    pub end_date: Option<Timestamp>,
    /// The time that it was about.
    pub data_interval: Option<(Timestamp, Timestamp)>,
}

/// What a DAG says of a task, for templates.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskFacts {
    /// What kind of task it is (`Bash`); `@task` for a function.
    pub operator: String,
    /// Whose it is.
    pub owner: String,
    /// How many times it is tried again.
    pub retries: u32,
    /// How long to wait before it is tried again.
    pub retry_delay: Duration,
    /// When it runs, as to the tasks before it.
    pub trigger_rule: String,
    /// The pool that it runs in.
    pub pool: String,
    /// The queue that it runs in.
    pub queue: String,
    /// The tasks that it waits for.
    pub upstream_task_ids: Vec<Arc<str>>,
    /// The tasks that wait for it.
    pub downstream_task_ids: Vec<Arc<str>>,
    /// The template for the name of its map index.
    pub map_index_template: Option<String>,
    /// How often this try was put off.
    pub reschedules: u32,
    /// When this try started.
    pub start_date: Option<Timestamp>,
}

impl Default for TaskFacts {
    fn default() -> Self {
        Self {
            operator: "@task".to_owned(),
            owner: "airflow".to_owned(),
            retries: 0,
            retry_delay: Duration::from_secs(300),
            trigger_rule: "all_success".to_owned(),
            pool: "default_pool".to_owned(),
            queue: "default".to_owned(),
            upstream_task_ids: Vec::new(),
            downstream_task_ids: Vec::new(),
            map_index_template: None,
            reschedules: 0,
            start_date: None,
        }
    }
}
