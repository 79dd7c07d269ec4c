//! Which entries the rules of retention catch.

use std::collections::BTreeSet;

use super::tables::Tables;
use crate::XComKey;
use crate::attempt::TaskState;
use crate::db::{Due, Expires, Place, ReadTarget, Rule, RunState, Scan};
use crate::entry::Entry;
use crate::run::RunInfo;

impl Tables {
    pub(super) fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Scan<Due> {
        let mut rows: Vec<_> = self.entries.iter().map(|(key, held)| (held.row, key, &held.entry)).collect();
        rows.retain(|(row, ..)| after.is_none_or(|after| *row > after.row));
        rows.sort_by_key(|(row, ..)| *row);
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|(row, ..)| Place { past: false, row: *row });
        let of_dag = |key: &XComKey| dag_id.is_none_or(|dag_id| *key.ti.dag_id == *dag_id);
        let due = |(_, key, entry): (i64, &XComKey, &Entry)| {
            let rule = self.caught(rules, key, entry).filter(|_| of_dag(key))?;
            Some(Due { key: key.clone(), version: entry.version, size: entry.size, rule })
        };
        Scan { items: rows.into_iter().filter_map(due).collect(), next }
    }

    /// The first rule that catches an entry.
    pub(super) fn caught(&self, rules: &[Rule], key: &XComKey, entry: &Entry) -> Option<usize> {
        rules.iter().position(|rule| match rule.expires {
            Expires::Pushed(before) => entry.version.time() < before,
            Expires::Behind(count) => !self.goes_on(key) && self.newer_runs(key) >= count as usize,
            Expires::Unread(since) => {
                entry.version.time() < since && !self.goes_on(key) && !self.read_since(key, entry, since)
            }
            Expires::Done(before) => self.done_before(key, before),
        })
    }

    fn run_of(&self, key: &XComKey) -> Option<&RunInfo> {
        self.runs.get(&(key.ti.dag_id.clone(), key.ti.run_id.clone()))
    }

    fn states(&self, key: &XComKey) -> impl Iterator<Item = TaskState> {
        let of_run =
            self.instances.iter().filter(|(ti, _)| ti.dag_id == key.ti.dag_id && ti.run_id == key.ti.run_id);
        of_run.map(|(_, instance)| instance.state)
    }

    fn goes_on(&self, key: &XComKey) -> bool {
        self.run_of(key).is_some_and(|info| info.state == Some(RunState::Running))
            || self.states(key).any(|state| !state.is_finished())
    }

    fn done_before(&self, key: &XComKey, before: jiff::Timestamp) -> bool {
        let fine = |state| matches!(state, TaskState::Success | TaskState::Skipped | TaskState::Removed);
        self.run_of(key).is_some_and(|info| {
            info.state == Some(RunState::Success) && info.ended_at.is_some_and(|ended| ended < before)
        }) && self.states(key).all(fine)
    }

    /// How many newer runs have entries of the same task.
    fn newer_runs(&self, key: &XComKey) -> usize {
        let Some(own) = self.run_of(key) else { return 0 };
        let same_task =
            self.entries.keys().filter(|k| k.ti.dag_id == key.ti.dag_id && k.ti.task_id == key.ti.task_id);
        let runs: BTreeSet<_> = same_task.filter_map(|k| Some(self.run_of(k)?.run.order())).collect();
        runs.into_iter().filter(|order| *order > own.run.order()).count()
    }

    fn read_since(&self, key: &XComKey, entry: &Entry, since: jiff::Timestamp) -> bool {
        self.reads.iter().any(|((_, target), (_, _, last))| {
            *last >= since
                && match target {
                    ReadTarget::Entry(k, version) => k == key && *version == entry.version,
                    ReadTarget::Sequence(k) => *k == key.sequence(),
                }
        })
    }
}
