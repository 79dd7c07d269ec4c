//! What else Airflow keeps in its tables that tasks ask for: which values are what their DAGs return, and connections.

use std::sync::Arc;

use excom_core::db::StoredConnection;
use excom_core::{Version, XComKey};
use rusqlite::{Connection, params};

use super::super::failure::Failure;
use super::super::row::text;
use super::{Beside, Tables, Writing, row};
use crate::airflow::pushed;

type Result<T> = std::result::Result<T, Failure>;

/// Whether a table of Airflow's has a column: not every Airflow's has.
const HAS_COLUMN: &str = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";

/// A row while it has the time of its push.
const MARK_RESULT: &str = "UPDATE xcom SET dag_result = 1
    WHERE dag_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index = ?4 AND key = ?5 AND timestamp = ?6";

/// Tasks whose returned values are what the DAG returned.
const RESULTS: &str = "SELECT DISTINCT task_id FROM xcom
    WHERE dag_id = ?1 AND run_id = ?2 AND key = 'return_value' AND dag_result ORDER BY 1";

const CONNECTION: &str =
    "SELECT conn_type, host, schema, login, password, port, extra, ifnull(is_encrypted, 0),
        ifnull(is_extra_encrypted, 0)
    FROM connection WHERE conn_id = ?1";

const OF_NO_TEAM: &str = " AND team_name IS NULL";

fn has_column(connection: &Connection, table: &str, column: &str) -> Result<bool> {
    Ok(connection.prepare_cached(HAS_COLUMN)?.exists([table, column])?)
}

impl Writing<'_> {
    fn mark_result(&self, key: &XComKey, version: Version) -> Result<()> {
        if !has_column(self.t.connection, "xcom", "dag_result")? {
            return Ok(());
        }
        let (ti, time) = (&key.ti, row::moment(pushed(version)));
        let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index, key.key, time];
        self.t.execute(MARK_RESULT, of).map(drop)
    }
}

impl Beside<'_> {
    fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        match has_column(self.view.connection(), "xcom", "dag_result")? {
            true => self.rows(RESULTS, [dag_id, run_id], |found| text(found, 0)),
            false => Ok(Vec::new()),
        }
    }

    fn connection(&self, id: &str) -> Result<Option<StoredConnection>> {
        let has_teams = has_column(self.view.connection(), "connection", "team_name")?;
        let sql = [CONNECTION, if has_teams { OF_NO_TEAM } else { "" }].concat();
        self.one(&sql, [id], |found| {
            Ok(StoredConnection {
                conn_type: found.get::<_, Option<_>>(0)?.unwrap_or_default(),
                host: found.get(1)?,
                schema: found.get(2)?,
                login: found.get(3)?,
                password: found.get(4)?,
                port: found.get(5)?,
                extra: found.get(6)?,
                is_encrypted: found.get(7)?,
                is_extra_encrypted: found.get(8)?,
            })
        })
    }
}

impl Tables {
    pub(super) async fn mark_result(&self, key: &XComKey, version: Version) -> excom_core::Result<()> {
        let key = key.clone();
        self.change(0, move |w| w.mark_result(&key, version)).await
    }

    pub(super) async fn results(&self, dag_id: &str, run_id: &str) -> excom_core::Result<Vec<Arc<str>>> {
        self.look(|beside| beside.results(dag_id, run_id))
    }

    pub(super) async fn connection(&self, id: &str) -> excom_core::Result<Option<StoredConnection>> {
        self.look(|beside| beside.connection(id))
    }
}
