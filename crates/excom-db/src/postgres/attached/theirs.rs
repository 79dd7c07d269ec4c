//! What else Airflow keeps in its tables that tasks ask for: which values are what their DAGs return, and connections.

use std::sync::Arc;

use excom_core::db::StoredConnection;
use tokio_postgres::Row;

use super::super::connection::{Statement, types};
use super::super::failure::Failure;
use super::super::row::text;
use super::Tables;
use crate::fernet::Fernet;

type Result<T> = std::result::Result<T, Failure>;

/// Tasks whose returned values are what the DAG returned.
const RESULTS: Statement<'_> = Statement {
    sql: "SELECT DISTINCT task_id::text COLLATE \"C\" FROM xcom
          WHERE dag_id = $1 AND run_id = $2 AND key = 'return_value' AND dag_result ORDER BY 1",
    types: types![TEXT, TEXT],
};

/// A connection. Not every Airflow's has a team.
const CONNECTION: Statement<'_> = Statement {
    sql: "SELECT c.conn_type::text, c.host::text, c.schema::text, c.login, c.password, c.port::int8, c.extra,
                 coalesce(c.is_encrypted, false), coalesce(c.is_extra_encrypted, false)
          FROM connection c WHERE c.conn_id = $1 AND to_jsonb(c) ->> 'team_name' IS NULL",
    types: types![TEXT],
};

/// An Airflow before 3.3 has no such column, and nothing that asks for it.
fn unless_older<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(failure) if failure.is_unknown_column() => Ok(T::default()),
        result => result,
    }
}

impl Tables {
    pub(super) async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        unless_older(self.own.rows(&RESULTS, &[&dag_id, &run_id], |found| text(found, 0)).await)
    }

    pub(super) async fn connection(&self, id: &str) -> Result<Option<StoredConnection>> {
        let Some(fernet) = &self.fernet else { return Ok(None) };
        self.own.one(&CONNECTION, &[&id], |found| connection(found, id, fernet)).await
    }
}

fn connection(found: &Row, id: &str, fernet: &Fernet) -> Result<StoredConnection> {
    Ok(StoredConnection {
        conn_type: found.try_get::<_, Option<_>>(0)?.unwrap_or_default(),
        host: found.try_get(1)?,
        schema: found.try_get(2)?,
        login: found.try_get(3)?,
        password: fernet.read_part(found.try_get(4)?, found.try_get(7)?, (id, "password"))?,
        port: found.try_get(5)?,
        extra: fernet.read_part(found.try_get(6)?, found.try_get(8)?, (id, "extra"))?,
    })
}
