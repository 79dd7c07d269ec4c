//! What DAGs return: a row of its own for an entry that is marked so, which counts while it names the entry's version. A
//! version is drawn for the push that is marked, so none without a mark ever has it, also when its history is forgotten.
//! Pushes write it (`write`).

use std::sync::Arc;

use super::Tables;
use super::connection::{Statement, types};
use super::failure::Failure;
use super::row::text;

/// The rows of a run, of which there are few, each with its entry by its key.
const RESULTS: Statement<'_> = Statement {
    sql: "SELECT DISTINCT t.text
          FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id JOIN excom.result m ON m.run = r.id
               JOIN excom.name k ON k.id = m.key
               JOIN excom.entry e ON e.run = m.run AND e.task = m.task AND e.key = m.key
                   AND e.map_index = m.map_index AND e.version = m.version
               JOIN excom.name t ON t.id = m.task
          WHERE d.text = $1 AND r.run_id = $2 AND k.text = 'return_value' ORDER BY t.text",
    types: types![TEXT, TEXT],
};

impl Tables {
    pub(super) async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>, Failure> {
        self.rows(&RESULTS, &[&dag_id, &run_id], |found| text(found, 0)).await
    }
}
