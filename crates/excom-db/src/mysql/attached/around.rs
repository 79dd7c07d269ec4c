//! What lies around an XCom that has no value: the statements that find what else there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use excom_core::XComKey;
use excom_core::db::Surroundings;
use mysql_async::Row;

use super::super::failure::Failure;
use super::super::read::{of_xcom, with};
use super::super::row;
use super::Tables;
use super::columns::{bytes, same, ti};

type Result<T> = std::result::Result<T, Failure>;

/// How many neighbours a pull without a value looks at.
const NEIGHBOURS: i64 = 500;

/// Whether Airflow has runs of a DAG, and whether it has this one.
const KNOWN: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM airflow.dag_run r WHERE ",
    same!("r.dag_id", ":dag"),
    "), EXISTS (SELECT 1 FROM airflow.dag_run r WHERE ",
    same!("r.dag_id", ":dag"),
    " AND ",
    same!("r.run_id", ":run_id"),
    ")"
);

/// DAGs that hold entries, by the index of task instances.
const DAGS: &str = concat!("SELECT DISTINCT ", bytes!("x.dag_id"), " FROM airflow.xcom x LIMIT :limit");

/// Runs of a DAG that hold entries, by their dates.
const RUNS: &str = concat!(
    "SELECT ",
    bytes!("r.run_id"),
    " FROM airflow.dag_run r WHERE ",
    same!("r.dag_id", ":dag"),
    " AND EXISTS (SELECT 1 FROM airflow.xcom x WHERE x.dag_run_id = r.id)
     ORDER BY COALESCE(r.logical_date, r.run_after) DESC LIMIT :limit"
);

/// Tasks of a run with their keys, by the run.
const PAIRS: &str = concat!(
    "SELECT DISTINCT ",
    bytes!("x.task_id"),
    ", ",
    bytes!("x.key"),
    " FROM airflow.xcom x WHERE ",
    same!("x.dag_id", ":dag"),
    " AND ",
    same!("x.run_id", ":run_id"),
    " ORDER BY 1, 2 LIMIT :limit"
);

/// Keys of a task instance.
const KEYS: &str = concat!(
    "SELECT ",
    bytes!("x.key"),
    " FROM airflow.xcom x WHERE ",
    ti!("x.dag_id", "x.run_id", "x.task_id", "x.map_index"),
    "ORDER BY 1 LIMIT :limit"
);

/// Map indexes that have a key.
const NEAR_INDEXES: &str = concat!(
    "SELECT x.map_index FROM airflow.xcom x WHERE ",
    same!("x.dag_id", ":dag"),
    " AND ",
    same!("x.run_id", ":run_id"),
    " AND ",
    same!("x.task_id", ":task"),
    " AND x.map_index <> :map_index AND ",
    same!("x.key", ":key"),
    " ORDER BY x.map_index LIMIT :limit"
);

impl Tables {
    /// What is found changes while it is looked for: these are hints.
    pub(super) async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        let near = || with(of_xcom(key), "limit", NEIGHBOURS);
        let text = |found: &Row| row::text(found, 0);
        let mut around = Surroundings::default();
        let known = self.own.one(KNOWN, near(), |found| Ok((row::is(found, 0)?, row::is(found, 1)?))).await?;
        match known.unwrap_or((false, false)) {
            (false, _) => around.dags = self.own.rows(DAGS, near(), text).await?,
            (true, false) => around.runs = self.own.rows(RUNS, near(), text).await?,
            (true, true) => {
                around.ti = self.task_instance(&key.ti).await?;
                if !self.is_bare {
                    around.last = self.history(key, 1).await?.pop();
                }
                let mut tasks: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
                let pair = |found: &Row| Ok((row::text(found, 0)?, row::text(found, 1)?));
                for (task, key) in self.own.rows(PAIRS, near(), pair).await? {
                    tasks.entry(task).or_default().push(key);
                }
                around.tasks = tasks.into_iter().collect();
                around.keys = self.own.rows(KEYS, near(), text).await?;
                let index = |found: &Row| row::int4(found, 0);
                around.map_indexes = self.own.rows(NEAR_INDEXES, near(), index).await?;
            }
        }
        Ok(around)
    }
}
