//! What lies around an XCom that has no value: the statements that find what else there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use excom_core::XComKey;
use excom_core::db::Surroundings;

use super::failure::Failure;
use super::read::View;
use super::row;

type Result<T> = std::result::Result<T, Failure>;

/// How many neighbours a pull without a value looks at.
pub(super) const NEIGHBOURS: u32 = 500;

impl View<'_> {
    pub(super) fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        let ti = &key.ti;
        let mut around = Surroundings::default();
        let Some(dag) = self.known_dag(&ti.dag_id)? else {
            around.dags = self.rows(
                "SELECT DISTINCT d.text FROM excom_dag_run r JOIN excom_name d ON d.id = r.dag
                 WHERE EXISTS (SELECT 1 FROM excom_entry WHERE run = r.id) LIMIT ?1",
                [NEIGHBOURS],
                |found| row::text(found, 0),
            )?;
            return Ok(around);
        };
        let Some(run) = self.0.fresh_run(&ti.dag_id, &ti.run_id)? else {
            around.runs = self.rows(
                "SELECT run_id FROM excom_dag_run r WHERE dag = ?1
                 AND EXISTS (SELECT 1 FROM excom_entry WHERE run = r.id)
                 ORDER BY ifnull(logical_date, run_after) DESC LIMIT ?2",
                (dag, NEIGHBOURS),
                |found| row::text(found, 0),
            )?;
            return Ok(around);
        };
        around.ti = self.task_instance(ti)?;
        around.last = self.history(key, 1)?.pop();
        let mut tasks: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        let pairs = self.rows(
            "SELECT t.text, k.text FROM
                 (SELECT DISTINCT task, key FROM excom_entry WHERE run = ?1 LIMIT ?2) e
             JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.key ORDER BY 1, 2",
            (run, NEIGHBOURS),
            |found| Ok((row::text(found, 0)?, row::text(found, 1)?)),
        )?;
        for (task, key) in pairs {
            tasks.entry(task).or_default().push(key);
        }
        around.tasks = tasks.into_iter().collect();
        if let Some(task) = self.0.name(&ti.task_id)? {
            around.keys = self.rows(
                "SELECT k.text FROM excom_entry e JOIN excom_name k ON k.id = e.key
                 WHERE e.run = ?1 AND e.task = ?2 AND e.map_index = ?3 ORDER BY 1 LIMIT ?4",
                (run, task, ti.map_index, NEIGHBOURS),
                |found| row::text(found, 0),
            )?;
            if let Some(name) = self.0.name(&key.key)? {
                around.map_indexes = self.rows(
                    "SELECT map_index FROM excom_entry
                     WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index <> ?4
                     ORDER BY map_index LIMIT ?5",
                    (run, task, name, ti.map_index, NEIGHBOURS),
                    |found| Ok(found.get(0)?),
                )?;
            }
        }
        Ok(around)
    }

    /// A DAG's number, when it has a run.
    fn known_dag(&self, dag_id: &str) -> Result<Option<i64>> {
        let Some(dag) = self.0.name(dag_id)? else { return Ok(None) };
        let known =
            self.connection().prepare_cached("SELECT 1 FROM excom_dag_run WHERE dag = ?1")?.exists([dag])?;
        Ok(known.then_some(dag))
    }
}
