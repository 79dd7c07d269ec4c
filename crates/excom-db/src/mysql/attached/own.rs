//! What does not depend on whose entries they are: marks, turns, counts of refusals, objects without an entry,
//! what has ended and who read what are as in a database of Excom's own.

use std::time::Duration;

use excom_core::db::{DagVersion, LedgerRow, LooseObject, Note, Pushed, Reads, RefusalCount};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Version};
use excom_core::{ObjectName, TaskInstanceKey, Value, XComKey};
use jiff::Timestamp;

use super::super::failure::Failure;
use super::super::ledger::note_reads;
use super::write::step;
use super::{Airflow, Tables};
use crate::airflow::excoms_own;

type Result<T> = std::result::Result<T, Failure>;

/// The reading try is Airflow's, by its id as a UUID or as a text with or without hyphens. What is no task has none, and no
/// empty text is compared with a UUID.
const NOTE_READS: &str = note_reads!(
    "(SELECT i.try_number FROM airflow.task_instance i
      WHERE i.id IN (COALESCE(a.by_attempt, REPEAT('0', 32)), INSERT(INSERT(INSERT(INSERT(
          COALESCE(a.by_attempt, REPEAT('0', 32)), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-'))),
     (SELECT i.try_number FROM airflow.task_instance_history i
      WHERE i.task_instance_id IN (COALESCE(a.by_attempt, REPEAT('0', 32)), INSERT(INSERT(INSERT(INSERT(
          COALESCE(a.by_attempt, REPEAT('0', 32)), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-')))"
);

impl Airflow<'_> {
    async fn note_reads(&mut self, reads: &[Reads]) -> Result<()> {
        self.0.note_reads(NOTE_READS, reads).await
    }
}

impl Tables {
    pub(super) async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        step!(self, write, note_reads(reads)).await
    }
}

excoms_own!(Tables);
