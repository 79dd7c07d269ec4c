//! What became of a run and of its tasks.

use std::path::PathBuf;
use std::sync::Arc;

use excom_core::{RunState, TaskState, UNMAPPED};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::attempt::Ended;
use super::event::milliseconds;
use super::recorder::Pushed;
use super::schedule::{Instance, Schedule};
use crate::dag::Task;
use crate::outcome::Failure;

/// The most failures of a mapped task's instances that a report has.
const FAILURES: usize = 10;

/// What became of a run.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The run's id.
    pub run_id: Arc<str>,
    /// How it ended.
    pub state: RunState,
    /// When it started, UTC.
    pub started_at: Timestamp,
    /// How long it took.
    #[serde(serialize_with = "milliseconds", rename = "duration_ms")]
    pub duration: SignedDuration,
    /// Its tasks, in the order in which the DAG has them.
    pub tasks: Vec<TaskReport>,
    /// What went wrong beside the tasks, such as a log that could not be written.
    pub warnings: Vec<String>,
}

impl RunReport {
    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.state == RunState::Success
    }

    /// What became of a task.
    pub fn task(&self, task_id: &str) -> Option<&TaskReport> {
        self.tasks.iter().find(|task| &*task.task_id == task_id)
    }
}

/// What became of a task.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TaskReport {
    /// Its id.
    pub task_id: Arc<str>,
    /// How it ended. A mapped one failed when an instance of it did, and was skipped when all were.
    pub state: TaskState,
    /// The number of its last try; 0 when it never started. The highest of a mapped task's instances.
    pub tries: u32,
    /// How long its last try took. The longest of a mapped task's instances.
    #[serde(serialize_with = "milliseconds", rename = "duration_ms")]
    pub duration: SignedDuration,
    /// What its last try pushed, in order; nothing for a mapped task.
    pub pushed: Vec<Pushed>,
    /// Why it failed or was skipped; of a mapped task's instances, the first that failed.
    pub failure: Option<Failure>,
    /// The log of its last try, when there is one; of a mapped task, of the first instance that failed.
    pub log: Option<PathBuf>,
    /// Of a mapped task, what became of its instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<Instances>,
    /// How many of its instances were done in an earlier run that this one went on with.
    pub kept: u32,
}

/// What became of the instances of a mapped task.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Instances {
    /// How many there are.
    pub total: u32,
    /// How many succeeded.
    pub success: u32,
    /// How many failed.
    pub failed: u32,
    /// How many were skipped.
    pub skipped: u32,
    /// How many failed unrun.
    pub upstream_failed: u32,
    /// The first that failed.
    pub failures: Vec<InstanceFailure>,
}

/// Why an instance of a mapped task failed.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct InstanceFailure {
    /// Which.
    pub map_index: i32,
    /// Why.
    pub failure: Failure,
    /// The log of its last try, when there is one.
    pub log: Option<PathBuf>,
}

impl TaskReport {
    pub(super) fn new(task: &Task) -> Self {
        Self {
            task_id: task.shared_id().clone(),
            state: TaskState::Scheduled,
            tries: 0,
            duration: SignedDuration::ZERO,
            pushed: Vec::new(),
            failure: None,
            log: None,
            instances: None,
            kept: 0,
        }
    }

    pub(super) fn started(&mut self, try_number: u32) {
        self.tries = self.tries.max(try_number);
    }

    /// A try ended.
    pub(super) fn ended(&mut self, map_index: i32, ended: Ended) {
        if map_index == UNMAPPED {
            self.state = ended.state;
            self.duration = ended.duration;
            (self.pushed, self.failure, self.log) = (ended.pushed, ended.failure, ended.log);
            return;
        }
        self.duration = self.duration.max(ended.duration);
        let failed = matches!(ended.state, TaskState::Failed | TaskState::UpForRetry);
        let Some(failure) = ended.failure.filter(|_| failed) else { return };
        let instances = self.instances.get_or_insert_default();
        instances.failures.retain(|known| known.map_index != map_index);
        if instances.failures.len() < FAILURES {
            instances.failures.push(InstanceFailure { map_index, failure, log: ended.log });
        }
    }
}

/// Sums up what became of each task.
pub(super) fn finish_reports(reports: &mut [TaskReport], schedule: &Schedule, cancelled: bool) {
    for (task, report) in (0..).zip(reports) {
        let (counts, left) = schedule.counts(task);
        if let Some(total) = schedule.length(task) {
            let instances = report.instances.get_or_insert_default();
            instances.total = total;
            (instances.success, instances.failed) = (counts.success, counts.failed);
            (instances.skipped, instances.upstream_failed) = (counts.skipped, counts.upstream_failed);
            // A failure that a later try made good is none.
            let state = |map_index| schedule.state(Instance { task, map_index });
            instances.failures.retain(|known| state(known.map_index) != Some(TaskState::Success));
            if let Some(first) = instances.failures.first() {
                report.failure = Some(first.failure.clone());
                report.log.clone_from(&first.log);
            }
        }
        report.state = match left {
            0 if counts.failed > 0 => TaskState::Failed,
            0 if counts.upstream_failed > 0 => TaskState::UpstreamFailed,
            0 if counts.success > 0 => TaskState::Success,
            0 => TaskState::Skipped,
            _ => report.state,
        };
        if left > 0 && cancelled && report.failure.is_none() {
            report.failure = Some(Failure::because("the run was cancelled before it was done"));
        }
    }
}
