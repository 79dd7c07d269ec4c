//! What is around an XCom in memory: its neighbours, for hints, and earlier runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::tables::Tables;
use crate::db::{DagRun, Surroundings};
use crate::{SequenceKey, XComKey};

impl Tables {
    /// What is known around an XCom without an entry.
    pub(super) fn surroundings(&self, key: &XComKey) -> Surroundings {
        let ti = &key.ti;
        let dag_known = self.runs.keys().any(|(dag, _)| *dag == ti.dag_id);
        let run_known = self.runs.contains_key(&(ti.dag_id.clone(), ti.run_id.clone()));
        let mut around = Surroundings {
            ti: self.instances.get(ti).map(|instance| instance.info(ti)),
            last: self.history.get(key).and_then(|past| past.last()).map(|past| past.info.clone()),
            ..Surroundings::default()
        };
        let mut tasks: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for other in self.entries.keys() {
            if other.ti.dag_id != ti.dag_id || other.ti.run_id != ti.run_id {
                continue;
            }
            tasks.entry(other.ti.task_id.clone()).or_default().insert(other.key.clone());
            if other.ti == *ti {
                around.keys.push(other.key.clone());
            } else if other.ti.task_id == ti.task_id && other.key == key.key {
                around.map_indexes.push(other.ti.map_index);
            }
        }
        around.tasks = tasks.into_iter().map(|(task, keys)| (task, keys.into_iter().collect())).collect();
        if dag_known && !run_known {
            let holds = |run: &&DagRun| {
                self.entries.keys().any(|k| k.ti.dag_id == run.dag_id && k.ti.run_id == run.run_id)
            };
            let runs = self.runs.values().map(|info| &info.run);
            let mut runs: Vec<&DagRun> = runs.filter(|run| run.dag_id == ti.dag_id).filter(holds).collect();
            runs.sort_by_key(|run| std::cmp::Reverse(run.date()));
            around.runs = runs.into_iter().map(|run| run.run_id.clone()).collect();
        }
        if !dag_known {
            let dags: BTreeSet<Arc<str>> = self.entries.keys().map(|k| k.ti.dag_id.clone()).collect();
            around.dags = dags.into_iter().collect();
        }
        around
    }

    pub(super) fn prior_run(&self, key: &SequenceKey, map_index: Option<i32>) -> Option<Arc<str>> {
        let limit = self.runs.get(&(key.dag_id.clone(), key.run_id.clone())).map(|info| info.run.date())?;
        let runs = self.runs.values().map(|info| &info.run);
        let mut runs: Vec<&DagRun> =
            runs.filter(|run| run.dag_id == key.dag_id && run.date() <= limit).collect();
        runs.sort_by_key(|run| (run.date(), run.run_id == key.run_id, run.run_id.clone()));
        let has = |run: &&&DagRun| {
            self.entries.keys().any(|k| {
                k.ti.dag_id == key.dag_id
                    && k.ti.run_id == run.run_id
                    && k.ti.task_id == key.task_id
                    && k.key == key.key
                    && map_index.is_none_or(|i| k.ti.map_index == i)
            })
        };
        runs.iter().rev().find(has).map(|run| run.run_id.clone())
    }
}
