//! What else Airflow keeps in its tables that tasks ask for: which values are what their DAGs return, and connections.

use std::sync::Arc;

use excom_core::db::StoredConnection;
use mysql_async::Row;

use super::super::connection::named;
use super::super::failure::Failure;
use super::super::row as own;
use super::Tables;
use super::columns::{bytes, same};
use crate::fernet::Fernet;

type Result<T> = std::result::Result<T, Failure>;

/// Tasks whose returned values are what the DAG returned.
const RESULTS: &str = concat!(
    "SELECT DISTINCT ",
    bytes!("x.task_id"),
    " FROM airflow.xcom x WHERE ",
    same!("x.dag_id", ":dag"),
    " AND ",
    same!("x.run_id", ":run_id"),
    " AND x.key = 'return_value' AND x.dag_result ORDER BY 1"
);

const CONNECTION: &str = concat!(
    "SELECT c.conn_type, c.host, c.`schema`, c.login, c.password, c.port, c.extra, COALESCE(c.is_encrypted, FALSE),
            COALESCE(c.is_extra_encrypted, FALSE)
     FROM airflow.connection c WHERE c.team_name IS NULL AND ",
    same!("c.conn_id", ":id")
);

impl Tables {
    pub(super) async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        let of = named! { "dag" => dag_id, "run_id" => run_id };
        self.own.rows(RESULTS, of, |found| own::text(found, 0)).await
    }

    pub(super) async fn connection(&self, id: &str) -> Result<Option<StoredConnection>> {
        let Some(fernet) = &self.fernet else { return Ok(None) };
        self.own.one(CONNECTION, named! { "id" => id }, |found| connection(found, id, fernet)).await
    }
}

fn connection(found: &Row, id: &str, fernet: &Fernet) -> Result<StoredConnection> {
    let text = |at| Ok::<_, Failure>(own::optional_str(found, at)?.map(str::to_owned));
    Ok(StoredConnection {
        conn_type: text(0)?.unwrap_or_default(),
        host: text(1)?,
        schema: text(2)?,
        login: text(3)?,
        password: fernet.read_part(text(4)?, own::is(found, 7)?, (id, "password"))?,
        port: own::optional(found, 5)?,
        extra: fernet.read_part(text(6)?, own::is(found, 8)?, (id, "extra"))?,
    })
}
