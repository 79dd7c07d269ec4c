//! Which entries the rules of retention catch, and what else goes with time.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::tables::Tables;
use crate::XComKey;
use crate::attempt::TaskState;
use crate::db::{Cutoffs, Due, Expires, Place, ReadTarget, Removed, Rule, RunState, Scan};
use crate::entry::{EndReason, Entry};
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

    fn done_before(&self, key: &XComKey, before: Timestamp) -> bool {
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

    fn read_since(&self, key: &XComKey, entry: &Entry, since: Timestamp) -> bool {
        self.reads.iter().any(|((_, target), (_, _, last))| {
            *last >= since
                && match target {
                    ReadTarget::Entry(k, version) => k == key && *version == entry.version,
                    ReadTarget::Sequence(k) => *k == key.sequence(),
                }
        })
    }

    pub(super) fn expire(&mut self, rules: &[Rule], due: &[Due], at: Timestamp) -> Removed {
        let mut removed = Removed::default();
        for due in due {
            let caught = self.entries.get(&due.key).filter(|held| held.entry.version == due.version);
            let Some(rule) = caught.and_then(|held| self.caught(rules, &due.key, &held.entry)) else {
                continue;
            };
            self.end(&due.key, EndReason::Expired, &rules[rule].text, at);
            removed.entries += 1;
            removed.bytes += due.size;
        }
        removed
    }

    /// One step of retention, of everything but entries.
    pub(super) fn retain(&mut self, cutoffs: &Cutoffs) -> Removed {
        let mut removed = Removed::default();
        let limit = cutoffs.limit as usize;
        let mut loosened = Vec::new();
        for (key, past) in &mut self.history {
            for past in past.iter_mut().filter(|past| past.info.ended_at < cutoffs.past_bytes) {
                if removed.past_bytes < limit as u64
                    && let Some(entry) = past.entry.take()
                {
                    past.info.has_bytes = false;
                    removed.past_bytes += 1;
                    removed.bytes += entry.size;
                    loosened.push((key.clone(), entry));
                }
            }
            let before = past.len();
            past.retain(|past| past.info.ended_at >= cutoffs.past_entries || past.entry.is_some());
            removed.past_entries += (before - past.len()) as u64;
        }
        self.history.retain(|_, past| !past.is_empty());
        for (key, entry) in loosened {
            self.loosen(&key, &entry, cutoffs.at);
        }
        let reads = self.reads.len() + self.refusals.len();
        self.reads.retain(|_, (_, _, last)| *last >= cutoffs.reads);
        self.refusals.retain(|row| row.last >= cutoffs.reads);
        removed.reads = (reads - self.reads.len() - self.refusals.len()) as u64;
        removed.reads += self.assets.forget_before(cutoffs.reads);
        if let Some(before) = cutoffs.runs {
            let used: HashSet<(Arc<str>, Arc<str>)> = self
                .entries
                .keys()
                .chain(self.history.keys())
                .map(|key| (key.ti.dag_id.clone(), key.ti.run_id.clone()))
                .collect();
            let busy: HashSet<(Arc<str>, Arc<str>)> = self
                .instances
                .iter()
                .filter(|(_, instance)| !instance.state.is_finished())
                .map(|(ti, _)| (ti.dag_id.clone(), ti.run_id.clone()))
                .collect();
            // A run that was killed stays `running`, but starts nothing more.
            let alive: HashSet<(Arc<str>, Arc<str>)> = self
                .instances
                .iter()
                .filter(|(_, instance)| {
                    instance.attempts.last().is_some_and(|last| last.started_at >= before)
                })
                .map(|(ti, _)| (ti.dag_id.clone(), ti.run_id.clone()))
                .collect();
            let gone: Vec<(Arc<str>, Arc<str>)> = self
                .runs
                .iter()
                .filter(|(key, info)| {
                    let old = match info.state {
                        Some(RunState::Running) => {
                            info.started_at.is_some_and(|at| at < before) && !alive.contains(key)
                        }
                        _ => info.ended_at.unwrap_or(info.run.run_after) < before && !busy.contains(key),
                    };
                    old && !used.contains(key)
                })
                .map(|(key, _)| key.clone())
                .take(limit)
                .collect();
            for (dag, run) in &gone {
                self.runs.remove(&(dag.clone(), run.clone()));
                self.instances.retain(|ti, _| ti.dag_id != *dag || ti.run_id != *run);
                self.assets.forget_run(dag, run);
            }
            removed.runs = gone.len() as u64;
            self.drop_versions(before);
        }
        removed
    }
}
