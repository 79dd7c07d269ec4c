//! Runs and DAG versions in memory.

use std::sync::Arc;

use jiff::Timestamp;

use super::tables::{Instance, Tables};
use crate::attempt::{TaskInstanceInfo, TaskState};
use crate::db::{DagRun, DagVersion, RunFilter, RunInfo, RunState};
use crate::value::Value;
use crate::{TaskInstanceKey, UNMAPPED};

impl Tables {
    /// The run of that name; it becomes known, due at the time given, when it is not.
    pub(super) fn ensure_run(&mut self, dag_id: &Arc<str>, run_id: &Arc<str>, at: Timestamp) -> &mut RunInfo {
        self.runs.entry((dag_id.clone(), run_id.clone())).or_insert_with(|| RunInfo {
            run: DagRun::new(dag_id.clone(), run_id.clone(), at),
            state: None,
            started_at: None,
            ended_at: None,
        })
    }

    pub(super) fn register_run(&mut self, run: &DagRun) -> &mut RunInfo {
        let known = self.ensure_run(&run.dag_id, &run.run_id, run.run_after);
        known.run = DagRun {
            conf: run.conf.clone().or(known.run.conf.take()),
            version: run.version.clone().or(known.run.version.take()),
            ..run.clone()
        };
        known
    }

    /// Sets the state of a task instance, which is that of its attempt too.
    pub(super) fn set_state(&mut self, ti: &TaskInstanceKey, state: TaskState, at: Timestamp) {
        self.ensure_run(&ti.dag_id, &ti.run_id, at);
        let instance = self.instances.entry(ti.clone()).or_insert_with(|| Instance::new(state));
        instance.state = state;
        if let Some(current) = instance.attempts.last_mut() {
            current.state = state;
        }
    }

    pub(super) fn runs(&self, filter: &RunFilter, before: Option<&DagRun>, limit: u32) -> Vec<RunInfo> {
        let fits = |info: &&RunInfo| {
            filter.dag_id.as_ref().is_none_or(|dag_id| *dag_id == info.run.dag_id)
                && filter.state.is_none_or(|state| info.state == Some(state))
                && before.is_none_or(|before| info.run.order() < before.order())
        };
        let mut runs: Vec<&RunInfo> = self.runs.values().filter(fits).collect();
        runs.sort_by(|a, b| b.run.order().cmp(&a.run.order()));
        runs.into_iter().take(limit as usize).cloned().collect()
    }

    pub(super) fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Vec<TaskInstanceInfo> {
        let (task, map_index) = after.unwrap_or(("", UNMAPPED));
        let first =
            TaskInstanceKey { dag_id: dag_id.into(), run_id: run_id.into(), task_id: task.into(), map_index };
        self.instances
            .range(&first..)
            .take_while(|(ti, _)| *ti.dag_id == *dag_id && *ti.run_id == *run_id)
            .filter(|(ti, _)| **ti != first)
            .take(limit as usize)
            .map(|(ti, instance)| instance.info(ti))
            .collect()
    }

    pub(super) fn note_dag_version(&mut self, dag_id: &str, version: &str, document: &Value, at: Timestamp) {
        let versions = self.versions.entry(dag_id.into()).or_default();
        if versions.iter().all(|known| *known.version != *version) {
            versions.push(DagVersion { version: version.into(), document: document.clone(), seen_at: at });
        }
    }

    /// Versions that are old and that no run refers to go.
    pub(super) fn drop_versions(&mut self, before: Timestamp) {
        let runs = &self.runs;
        for (dag_id, versions) in &mut self.versions {
            versions.retain(|version| {
                version.seen_at >= before
                    || runs.values().any(|info| {
                        info.run.dag_id == *dag_id && info.run.version.as_ref() == Some(&version.version)
                    })
            });
        }
    }
}

impl RunInfo {
    pub(super) fn set(&mut self, state: RunState, at: Timestamp) {
        self.state = Some(state);
        self.started_at.get_or_insert(at);
        self.ended_at = state.is_finished().then_some(at);
    }
}
