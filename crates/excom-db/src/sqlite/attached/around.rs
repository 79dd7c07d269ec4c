//! What lies around an XCom that has no value: the statements that find what else there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use excom_core::XComKey;
use excom_core::db::Surroundings;
use rusqlite::{Row, params};

use super::super::around::NEIGHBOURS;
use super::super::failure::Failure;
use super::super::row::text;
use super::Beside;
use super::columns::of_ti;

type Result<T> = std::result::Result<T, Failure>;

/// Whether Airflow has runs of a DAG, and whether it has this one.
const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM dag_run WHERE dag_id = ?1),
    EXISTS (SELECT 1 FROM dag_run WHERE dag_id = ?1 AND run_id = ?2)";

/// DAGs that hold entries.
const DAGS: &str = "SELECT DISTINCT dag_id FROM xcom LIMIT ?1";

/// Runs of a DAG that hold entries, by their dates.
const RUNS: &str = "SELECT run_id FROM dag_run r WHERE dag_id = ?1
    AND EXISTS (SELECT 1 FROM xcom WHERE dag_run_id = r.id)
    ORDER BY ifnull(logical_date, run_after) DESC LIMIT ?2";

/// Tasks of a run with their keys.
const PAIRS: &str =
    "SELECT DISTINCT task_id, key FROM xcom WHERE dag_id = ?1 AND run_id = ?2 ORDER BY 1, 2 LIMIT ?3";

/// Keys of a task instance.
const KEYS: &str = concat!("SELECT x.key FROM xcom x WHERE", of_ti!("x"), "ORDER BY 1 LIMIT ?5");

/// Map indexes that have a key.
const NEAR_INDEXES: &str = "SELECT map_index FROM xcom
    WHERE dag_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index <> ?4 AND key = ?5 ORDER BY 1 LIMIT ?6";

impl Beside<'_> {
    pub(super) fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        let ti = &key.ti;
        let mut around = Surroundings::default();
        let known = self.one(KNOWN, [&ti.dag_id, &ti.run_id], |found| Ok((found.get(0)?, found.get(1)?)))?;
        match known.unwrap_or((false, false)) {
            (false, _) => around.dags = self.rows(DAGS, [NEIGHBOURS], |found| text(found, 0))?,
            (true, false) => {
                around.runs = self.rows(RUNS, params![ti.dag_id, NEIGHBOURS], |found| text(found, 0))?;
            }
            (true, true) => {
                around.ti = self.task_instance(ti)?;
                if !self.is_bare {
                    around.last = self.view.history(key, 1)?.pop();
                }
                let mut tasks: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
                let pair = |found: &Row<'_>| Ok((text(found, 0)?, text(found, 1)?));
                for (task, key) in self.rows(PAIRS, params![ti.dag_id, ti.run_id, NEIGHBOURS], pair)? {
                    tasks.entry(task).or_default().push(key);
                }
                around.tasks = tasks.into_iter().collect();
                let here = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index, NEIGHBOURS];
                around.keys = self.rows(KEYS, here, |found| text(found, 0))?;
                let near = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index, key.key, NEIGHBOURS];
                around.map_indexes = self.rows(NEAR_INDEXES, near, |found| Ok(found.get(0)?))?;
            }
        }
        Ok(around)
    }
}
