//! What would be refused while the rules are only observed: counted in memory, written about once a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Engine;
use crate::db::RefusalCount;
use crate::{Result, TaskInstanceKey};

/// Distinct refusals gathered at most, while they cannot be written.
const LIMIT: usize = 10_000;

/// Rule, DAG and task that asked, and what for.
type Refusal = (Arc<str>, Arc<str>, Arc<str>, String);

/// Refusals that wait to be written: how many, the first time and the last.
#[derive(Default)]
pub(super) struct Tally(Mutex<HashMap<Refusal, (u64, Timestamp, Timestamp)>>);

impl Tally {
    fn lock(&self) -> MutexGuard<'_, HashMap<Refusal, (u64, Timestamp, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, refusal: Refusal, (count, first, last): (u64, Timestamp, Timestamp)) {
        let mut counts = self.lock();
        if counts.len() >= LIMIT && !counts.contains_key(&refusal) {
            return;
        }
        let known = counts.entry(refusal).or_insert((0, first, last));
        *known = (known.0 + count, known.1.min(first), known.2.max(last));
    }
}

impl Engine {
    /// Counts what a task did that would have been refused.
    pub(super) fn observe(&self, rule: &str, ti: &TaskInstanceKey, target: String) {
        let now = self.0.clock.now();
        self.0.refusals.add((rule.into(), ti.dag_id.clone(), ti.task_id.clone(), target), (1, now, now));
    }

    /// What tasks did that would have been refused while `[xcom] observe` was on, the most recent first, at
    /// most so many. What this engine has gathered is written first.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
        self.flush_refusals().await?;
        self.0.db.refusals(limit).await
    }

    /// Writes the gathered counts.
    pub(super) async fn flush_refusals(&self) -> Result<()> {
        let counts = std::mem::take(&mut *self.0.refusals.lock());
        if counts.is_empty() {
            return Ok(());
        }
        let rows = counts.into_iter().map(|((rule, dag_id, task_id, target), (count, first, last))| {
            RefusalCount { rule, dag_id, task_id, target, count, first, last }
        });
        let rows: Vec<RefusalCount> = rows.collect();
        let noted = self.0.db.note_refusals(&rows).await;
        if noted.is_err() {
            for row in rows {
                let RefusalCount { rule, dag_id, task_id, target, count, first, last } = row;
                self.0.refusals.add((rule, dag_id, task_id, target), (count, first, last));
            }
        }
        noted
    }
}
