//! What rows of the ledger hold, whichever database they are in.

use excom_core::TaskInstanceKey;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use excom_core::XComKey;
use excom_core::attempt::{AttemptId, Caller};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use excom_core::db::{ReadTarget, Reads};
use uuid::Uuid;

/// The map index that stands for a whole sequence in the ledger.
pub(crate) const WHOLE: i32 = -2;

/// A task instance as a reader.
pub(crate) fn told(ti: &TaskInstanceKey) -> String {
    Caller::attempt(ti.clone(), AttemptId(Uuid::nil())).to_string()
}

/// Reads as their row holds them.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) struct Read<'a> {
    pub(crate) reads: &'a Reads,
    pub(crate) dag: &'a str,
    pub(crate) run: &'a str,
    pub(crate) task: &'a str,
    pub(crate) key: &'a str,
    pub(crate) map_index: i32,
    pub(crate) version: i64,
    pub(crate) reader: Option<&'a TaskInstanceKey>,
    pub(crate) attempt: Option<Uuid>,
    /// Who else.
    pub(crate) name: String,
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
impl<'a> Read<'a> {
    pub(crate) fn of(reads: &'a Reads) -> Self {
        let (dag, run, task, key, map_index, version) = match &reads.target {
            ReadTarget::Entry(XComKey { ti, key, .. }, version) => {
                (&ti.dag_id, &ti.run_id, &ti.task_id, key, ti.map_index, version.to_code())
            }
            ReadTarget::Sequence(of) => (&of.dag_id, &of.run_id, &of.task_id, &of.key, WHOLE, 0),
        };
        let (reader, attempt, name) = match &reads.reader {
            Caller::Attempt(attempt) => (Some(&attempt.ti), Some(attempt.id.0), String::new()),
            other => (None, None, other.to_string()),
        };
        Self { reads, dag, run, task, key, map_index, version, reader, attempt, name }
    }
}
