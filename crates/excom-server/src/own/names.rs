//! What paths name.

use std::sync::Arc;

use excom_core::{SequenceKey, TaskInstanceKey, UNMAPPED, XComKey};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::refusal::Refusal;

/// An XCom.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OfXCom {
    #[schemars(length(min = 1, max = 250))]
    dag_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    run_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    task_id: Arc<str>,
    /// -1 when the task is not mapped.
    #[schemars(range(min = -1))]
    map_index: i32,
    /// It may hold slashes, escaped or not.
    #[schemars(length(min = 1, max = 512))]
    key: Arc<str>,
}

impl OfXCom {
    pub(super) fn key(self) -> Result<XComKey, Refusal> {
        Ok(XComKey::new(self.dag_id, self.run_id, self.task_id, self.map_index, self.key)?)
    }
}

/// What a mapped task produced under a key.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OfSequence {
    #[schemars(length(min = 1, max = 250))]
    dag_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    run_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    task_id: Arc<str>,
    /// It may hold slashes, escaped or not.
    #[schemars(length(min = 1, max = 512))]
    key: Arc<str>,
}

impl OfSequence {
    pub(super) fn key(self) -> Result<SequenceKey, Refusal> {
        Ok(XComKey::new(self.dag_id, self.run_id, self.task_id, UNMAPPED, self.key)?.sequence())
    }
}

/// A DAG run.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OfRun {
    #[schemars(length(min = 1, max = 250))]
    dag_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    run_id: Arc<str>,
}

impl OfRun {
    /// The ids of the DAG and of the run.
    pub(super) fn ids(self) -> Result<(Arc<str>, Arc<str>), Refusal> {
        let ti = TaskInstanceKey::new(self.dag_id, self.run_id, "_", UNMAPPED)?;
        Ok((ti.dag_id, ti.run_id))
    }
}

/// The refusal of a run that there is not.
pub(super) fn unknown_run(dag_id: &str, run_id: &str) -> Refusal {
    Refusal::not_found(format!("run {run_id} of {dag_id} is not known"))
}

/// A task instance.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OfInstance {
    #[schemars(length(min = 1, max = 250))]
    dag_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    run_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    task_id: Arc<str>,
    /// -1 when the task is not mapped.
    #[schemars(range(min = -1))]
    map_index: i32,
}

impl OfInstance {
    pub(super) fn key(self) -> Result<TaskInstanceKey, Refusal> {
        Ok(TaskInstanceKey::new(self.dag_id, self.run_id, self.task_id, self.map_index)?)
    }
}
