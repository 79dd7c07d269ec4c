//! What lies around an XCom that has no value: the statements that find what else there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use excom_core::XComKey;
use excom_core::db::Surroundings;
use mysql_async::Row;

use super::Tables;
use super::failure::Failure;
use super::read::{key, of_xcom, run, task, with};
use super::row;

type Result<T> = std::result::Result<T, Failure>;

/// How many neighbours a pull without a value looks at.
const NEIGHBOURS: i64 = 500;

/// Whether a DAG has runs, and whether it has this one.
const KNOWN: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM excom_dag_run WHERE dag = (SELECT id FROM excom_name WHERE text = :dag)), ",
    run!(),
    " IS NOT NULL"
);

/// DAGs that hold entries: each of them until a run of it does.
const DAGS: &str = "SELECT d.text FROM excom_name d
    WHERE EXISTS (SELECT 1 FROM excom_dag_run r WHERE r.dag = d.id
                  AND EXISTS (SELECT 1 FROM excom_entry e WHERE e.run = r.id)) LIMIT :limit";

/// Runs of a DAG that hold entries, by their dates.
const RUNS: &str = "SELECT r.run_id FROM excom_dag_run r
    WHERE r.dag = (SELECT id FROM excom_name WHERE text = :dag)
    AND EXISTS (SELECT 1 FROM excom_entry e WHERE e.run = r.id)
    ORDER BY r.due DESC, r.run_id DESC LIMIT :limit";

/// Tasks of a run with their keys, in the order of the entries' key.
const PAIRS: &str = concat!(
    "SELECT t.text, k.text FROM (
         SELECT DISTINCT task, xcom_key FROM excom_entry WHERE run = ",
    run!(),
    " LIMIT :limit) e
     JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.xcom_key ORDER BY 1, 2"
);

/// Keys of a task instance: all entries of its task.
const KEYS: &str = concat!(
    "SELECT k.text FROM excom_entry e JOIN excom_name k ON k.id = e.xcom_key WHERE e.run = ",
    run!(),
    " AND e.task = ",
    task!(),
    " AND e.map_index = :map_index ORDER BY 1 LIMIT :limit"
);

/// Map indexes that have a key, by the key.
const NEAR_INDEXES: &str = concat!(
    "SELECT map_index FROM excom_entry WHERE run = ",
    run!(),
    " AND task = ",
    task!(),
    " AND map_index <> :map_index AND xcom_key = ",
    key!(),
    " ORDER BY map_index LIMIT :limit"
);

impl Tables {
    /// What is found changes while it is looked for: these are hints.
    pub(super) async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        let near = || with(of_xcom(key), "limit", NEIGHBOURS);
        let text = |found: &Row| row::text(found, 0);
        let mut around = Surroundings::default();
        let known = self.one(KNOWN, near(), |found| Ok((row::is(found, 0)?, row::is(found, 1)?))).await?;
        match known.unwrap_or((false, false)) {
            (false, _) => around.dags = self.rows(DAGS, near(), text).await?,
            (true, false) => around.runs = self.rows(RUNS, near(), text).await?,
            (true, true) => {
                around.ti = self.task_instance(&key.ti).await?;
                around.last = self.history(key, 1).await?.pop();
                let mut tasks: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
                let pair = |found: &Row| Ok((row::text(found, 0)?, row::text(found, 1)?));
                for (task, key) in self.rows(PAIRS, near(), pair).await? {
                    tasks.entry(task).or_default().push(key);
                }
                around.tasks = tasks.into_iter().collect();
                around.keys = self.rows(KEYS, near(), text).await?;
                around.map_indexes = self.rows(NEAR_INDEXES, near(), |found| row::int4(found, 0)).await?;
            }
        }
        Ok(around)
    }
}
