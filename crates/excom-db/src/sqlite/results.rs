//! What DAGs return: a row of its own for an entry that is marked so, which counts while it names the entry's version. A
//! version is drawn for the push that is marked, so none without a mark ever has it, also when its history is forgotten.

use std::sync::Arc;

use excom_core::RETURN_VALUE;
use excom_core::entry::Version;

use super::failure::Failure;
use super::read::View;
use super::row::text;
use super::write::{Ti, Xcom};
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

impl Transaction<'_> {
    pub(super) fn mark_result(&self, of: Xcom, version: Version) -> Result<()> {
        let Xcom { ti: Ti { run, task, map_index }, key } = of;
        self.execute(
            "INSERT INTO excom_result (run, task, key, map_index, version) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET version = excluded.version",
            (run, task, key, map_index, version.to_code()),
        )
        .map(drop)
    }

    /// Removes the mark of an XCom, or all of a task instance when there is no key.
    pub(super) fn remove_results(&self, of: Ti, key: Option<i64>) -> Result<()> {
        self.execute(
            "DELETE FROM excom_result
             WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND key = ifnull(?4, key)",
            (of.run, of.task, of.map_index, key),
        )
        .map(drop)
    }
}

impl View<'_> {
    pub(super) fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        let key = self.0.name(RETURN_VALUE)?;
        let Some((run, key)) = self.0.fresh_run(dag_id, run_id)?.zip(key) else { return Ok(Vec::new()) };
        self.rows(
            "SELECT DISTINCT t.text
             FROM excom_result m JOIN excom_entry e USING (run, task, key, map_index, version)
                  JOIN excom_name t ON t.id = m.task
             WHERE m.run = ?1 AND m.key = ?2 ORDER BY t.text",
            (run, key),
            |found| text(found, 0),
        )
    }
}
