//! What DAGs return: a row of its own for an entry that is marked so, which counts while it names the entry's version. A
//! version is drawn for the push that is marked, so none without a mark ever has it, also when its history is forgotten.

use std::sync::Arc;

use excom_core::entry::Version;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::Failure;
use super::names::{Ti, Xcom};
use super::read::with;
use super::row;
use super::write::{of_version, ti};

type Result<T> = std::result::Result<T, Failure>;

const MARK: &str = "INSERT INTO excom_result (run, task, xcom_key, map_index, version)
    VALUES (:run, :task, :key, :map_index, :version) ON DUPLICATE KEY UPDATE version = VALUES(version)";

/// One by its key, or those of a task instance, for which the rows of its task in the run are looked at.
const REMOVE: &str = "DELETE FROM excom_result
    WHERE run = :run AND task = :task AND map_index = :map_index AND (:key IS NULL OR xcom_key = :key)";

/// The rows of a run, of which there are few, each with its entry by its key.
const RESULTS: &str = "SELECT DISTINCT t.text
    FROM excom_name d JOIN excom_dag_run r ON r.dag = d.id AND r.run_id = :run_id
         JOIN excom_result m ON m.run = r.id JOIN excom_name k ON k.id = m.xcom_key
         JOIN excom_entry e ON e.run = m.run AND e.task = m.task AND e.xcom_key = m.xcom_key
             AND e.map_index = m.map_index AND e.version = m.version
         JOIN excom_name t ON t.id = m.task
    WHERE d.text = :dag AND k.text = 'return_value' ORDER BY 1";

impl Connection {
    pub(super) async fn mark_result(&mut self, of: Xcom, version: Version) -> Result<()> {
        self.change(MARK, of_version(of, version)).await.map(drop)
    }

    /// Removes the mark of an XCom, or all of a task instance when there is no key.
    pub(super) async fn remove_results(&mut self, of: Ti, key: Option<i32>) -> Result<()> {
        self.change(REMOVE, with(ti(of), "key", key)).await.map(drop)
    }
}

impl Tables {
    pub(super) async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        self.rows(RESULTS, named! { "dag" => dag_id, "run_id" => run_id }, |found| row::text(found, 0)).await
    }
}
