//! What lies around an XCom that has no value: the statements that find what else there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use excom_core::XComKey;
use excom_core::db::Surroundings;
use tokio_postgres::Row;

use super::super::connection::{Parameter, Statement, types};
use super::super::failure::Failure;
use super::super::row::text;
use super::Tables;

type Result<T> = std::result::Result<T, Failure>;

/// How many neighbours a pull without a value looks at.
const NEIGHBOURS: i64 = 500;

/// Whether Airflow has runs of a DAG, and whether it has this one.
const KNOWN: Statement<'_> = Statement {
    sql: "SELECT EXISTS (SELECT FROM dag_run WHERE dag_id = $1), excom.known_run($1, $2) IS NOT NULL",
    types: types![TEXT, TEXT],
};

/// DAGs that hold entries, by a look for the next one each.
const DAGS: Statement<'_> = Statement {
    sql: "WITH RECURSIVE held (dag_id) AS (
              (SELECT dag_id FROM xcom ORDER BY dag_id LIMIT 1)
              UNION ALL
              SELECT (SELECT x.dag_id FROM xcom x WHERE x.dag_id > held.dag_id ORDER BY x.dag_id LIMIT 1)
              FROM held WHERE held.dag_id IS NOT NULL)
          SELECT dag_id::text FROM held WHERE dag_id IS NOT NULL LIMIT $1",
    types: types![INT8],
};

/// Runs of a DAG that hold entries, by their dates.
const RUNS: Statement<'_> = Statement {
    sql: "SELECT run_id::text FROM dag_run r
          WHERE dag_id = $1 AND EXISTS (SELECT FROM xcom x WHERE x.dag_run_id = r.id)
          ORDER BY coalesce(logical_date, run_after) DESC LIMIT $2",
    types: types![TEXT, INT8],
};

/// Tasks of a run with their keys, by the run.
const PAIRS: Statement<'_> = Statement {
    sql: "SELECT DISTINCT task_id::text, key::text FROM xcom WHERE dag_run_id = excom.known_run($1, $2)
          ORDER BY 1, 2 LIMIT $3",
    types: types![TEXT, TEXT, INT8],
};

/// Keys of a task instance.
const KEYS: Statement<'_> = Statement {
    sql: "SELECT key::text FROM xcom
          WHERE dag_run_id = excom.known_run($1, $2) AND task_id = $3 AND map_index = $4
          ORDER BY key COLLATE \"C\" LIMIT $5",
    types: types![TEXT, TEXT, TEXT, INT4, INT8],
};

/// Map indexes that have a key.
const NEAR_INDEXES: Statement<'_> = Statement {
    sql: "SELECT map_index FROM xcom
          WHERE dag_run_id = excom.known_run($1, $2) AND task_id = $3 AND map_index <> $4 AND key = $5
          ORDER BY map_index LIMIT $6",
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

impl Tables {
    /// What is found changes while it is looked for: these are hints.
    pub(super) async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        let ti = &key.ti;
        let (dag, run, task, name) = (&*ti.dag_id, &*ti.run_id, &*ti.task_id, &*key.key);
        let of = |found: &Row| text(found, 0);
        let mut around = Surroundings::default();
        let known =
            self.own.one(&KNOWN, &[&dag, &run], |found| Ok((found.try_get(0)?, found.try_get(1)?))).await?;
        match known.unwrap_or((false, false)) {
            (false, _) => around.dags = self.own.rows(&DAGS, &[&NEIGHBOURS], of).await?,
            (true, false) => around.runs = self.own.rows(&RUNS, &[&dag, &NEIGHBOURS], of).await?,
            (true, true) => {
                around.ti = self.task_instance(ti).await?;
                around.last = self.history(key, 1).await?.pop();
                let mut tasks: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
                let pair = |found: &Row| Ok((text(found, 0)?, text(found, 1)?));
                for (task, key) in self.own.rows(&PAIRS, &[&dag, &run, &NEIGHBOURS], pair).await? {
                    tasks.entry(task).or_default().push(key);
                }
                around.tasks = tasks.into_iter().collect();
                let at = &ti.map_index;
                around.keys = self.own.rows(&KEYS, &[&dag, &run, &task, at, &NEIGHBOURS], of).await?;
                let near: [Parameter<'_>; 6] = [&dag, &run, &task, at, &name, &NEIGHBOURS];
                let index = |found: &Row| Ok(found.try_get(0)?);
                around.map_indexes = self.own.rows(&NEAR_INDEXES, &near, index).await?;
            }
        }
        Ok(around)
    }
}
