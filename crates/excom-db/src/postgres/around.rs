//! What lies around an XCom that has no value: the statements that find what else there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use excom_core::XComKey;
use excom_core::db::Surroundings;
use tokio_postgres::Row;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::Failure;
use super::read::{name, run};
use super::row;

type Result<T> = std::result::Result<T, Failure>;

/// How many neighbours a pull without a value looks at.
const NEIGHBOURS: i64 = 500;

/// Whether a DAG has runs, and whether it has this one.
const KNOWN: Statement<'_> = Statement {
    sql: concat!(
        "SELECT EXISTS (SELECT FROM excom.dag_run WHERE dag = ",
        name!("$1"),
        "), ",
        run!("$1", "$2"),
        " IS NOT NULL"
    ),
    types: types![TEXT, TEXT],
};

/// DAGs that hold entries: each of them until a run of it does.
const DAGS: Statement<'_> = Statement {
    sql: "SELECT d.text FROM excom.name d
          WHERE EXISTS (SELECT FROM excom.dag_run r WHERE r.dag = d.id
                        AND EXISTS (SELECT FROM excom.entry e WHERE e.run = r.id)) LIMIT $1",
    types: types![INT8],
};

/// Runs of a DAG that hold entries, by their dates.
const RUNS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT run_id FROM excom.dag_run r WHERE dag = ",
        name!("$1"),
        "
         AND EXISTS (SELECT FROM excom.entry e WHERE e.run = r.id)
         ORDER BY coalesce(logical_date, run_after) DESC LIMIT $2"
    ),
    types: types![TEXT, INT8],
};

/// Tasks of a run with their keys, by the run.
const PAIRS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT t.text, k.text FROM
             (SELECT DISTINCT task, key FROM excom.entry WHERE run = ",
        run!("$1", "$2"),
        " LIMIT $3) e
         JOIN excom.name t ON t.id = e.task JOIN excom.name k ON k.id = e.key ORDER BY 1, 2"
    ),
    types: types![TEXT, TEXT, INT8],
};

/// Keys of a task instance, by its task.
const KEYS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT k.text FROM excom.entry e JOIN excom.name k ON k.id = e.key
         WHERE e.run = ",
        run!("$1", "$2"),
        " AND e.task = ",
        name!("$3"),
        " AND e.map_index = $4 ORDER BY 1 LIMIT $5"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, INT8],
};

/// Map indexes that have a key, by the key.
const NEAR_INDEXES: Statement<'_> = Statement {
    sql: concat!(
        "SELECT map_index FROM excom.entry
         WHERE run = ",
        run!("$1", "$2"),
        " AND task = ",
        name!("$3"),
        " AND map_index <> $4 AND key = ",
        name!("$5"),
        " ORDER BY map_index LIMIT $6"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

impl Tables {
    /// What is found changes while it is looked for: these are hints.
    pub(super) async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        let ti = &key.ti;
        let (dag, run, task, name) = (&*ti.dag_id, &*ti.run_id, &*ti.task_id, &*key.key);
        let text = |found: &Row| row::text(found, 0);
        let mut around = Surroundings::default();
        let known =
            self.one(&KNOWN, &[&dag, &run], |found| Ok((found.try_get(0)?, found.try_get(1)?))).await?;
        match known.unwrap_or((false, false)) {
            (false, _) => around.dags = self.rows(&DAGS, &[&NEIGHBOURS], text).await?,
            (true, false) => around.runs = self.rows(&RUNS, &[&dag, &NEIGHBOURS], text).await?,
            (true, true) => {
                around.ti = self.task_instance(ti).await?;
                around.last = self.history(key, 1).await?.pop();
                let mut tasks: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
                let pair = |found: &Row| Ok((row::text(found, 0)?, row::text(found, 1)?));
                for (task, key) in self.rows(&PAIRS, &[&dag, &run, &NEIGHBOURS], pair).await? {
                    tasks.entry(task).or_default().push(key);
                }
                around.tasks = tasks.into_iter().collect();
                let at = &ti.map_index;
                around.keys = self.rows(&KEYS, &[&dag, &run, &task, at, &NEIGHBOURS], text).await?;
                let near: [Parameter<'_>; 6] = [&dag, &run, &task, at, &name, &NEIGHBOURS];
                around.map_indexes = self.rows(&NEAR_INDEXES, &near, |found| Ok(found.try_get(0)?)).await?;
            }
        }
        Ok(around)
    }
}
