//! What else Airflow keeps in its tables that tasks ask for: which values are what their DAGs return, and connections.

use std::sync::Arc;

use excom_core::db::StoredConnection;
use rusqlite::Connection;

use super::super::failure::Failure;
use super::super::row::text;
use super::{Beside, Tables};

type Result<T> = std::result::Result<T, Failure>;

/// Whether a table of Airflow's has a column: not every Airflow's has.
const HAS_COLUMN: &str = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";

/// Tasks whose returned values are what the DAG returned.
const RESULTS: &str = "SELECT DISTINCT task_id FROM xcom
    WHERE dag_id = ?1 AND run_id = ?2 AND key = 'return_value' AND dag_result ORDER BY 1";

const CONNECTION: &str =
    "SELECT conn_type, host, schema, login, password, port, extra, ifnull(is_encrypted, 0),
        ifnull(is_extra_encrypted, 0)
    FROM connection WHERE conn_id = ?1";

const OF_NO_TEAM: &str = " AND team_name IS NULL";

pub(super) fn has_column(connection: &Connection, table: &str, column: &str) -> Result<bool> {
    Ok(connection.prepare_cached(HAS_COLUMN)?.exists([table, column])?)
}

impl Beside<'_> {
    fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        match has_column(self.view.connection(), "xcom", "dag_result")? {
            true => self.rows(RESULTS, [dag_id, run_id], |found| text(found, 0)),
            false => Ok(Vec::new()),
        }
    }

    fn connection(&self, id: &str) -> Result<Option<StoredConnection>> {
        let Some(fernet) = self.fernet else { return Ok(None) };
        let has_teams = has_column(self.view.connection(), "connection", "team_name")?;
        let sql = [CONNECTION, if has_teams { OF_NO_TEAM } else { "" }].concat();
        self.one(&sql, [id], |found| {
            Ok(StoredConnection {
                conn_type: found.get::<_, Option<_>>(0)?.unwrap_or_default(),
                host: found.get(1)?,
                schema: found.get(2)?,
                login: found.get(3)?,
                password: fernet.read_part(found.get(4)?, found.get(7)?, (id, "password"))?,
                port: found.get(5)?,
                extra: fernet.read_part(found.get(6)?, found.get(8)?, (id, "extra"))?,
            })
        })
    }
}

impl Tables {
    pub(super) async fn results(&self, dag_id: &str, run_id: &str) -> excom_core::Result<Vec<Arc<str>>> {
        self.look(|beside| beside.results(dag_id, run_id))
    }

    pub(super) async fn connection(&self, id: &str) -> excom_core::Result<Option<StoredConnection>> {
        self.look(|beside| beside.connection(id))
    }
}
