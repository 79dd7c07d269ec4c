//! By what a database is known again over each new connection. After a failover another server may answer at its
//! address: one that has nothing, or not all that was acknowledged. There an XCom would seem never to have been pushed,
//! so nothing is asked of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, HookError};
use tokio::time::timeout;
use tokio_postgres::{Row, SimpleQueryMessage};

use super::connection::{Connections, Statement};
use super::failure::Failure;

/// The database's own name, which it gets once.
const NAME: Statement<'_> =
    Statement { sql: "SELECT value FROM excom.mark WHERE name = 'database'", types: &[] };

pub(super) const MAKE_NAME: Statement<'_> = Statement {
    sql: "INSERT INTO excom.mark (name, value) VALUES ('database', gen_random_uuid()) ON CONFLICT DO NOTHING",
    types: &[],
};

/// What is known of a database.
#[derive(Debug, Default)]
pub(super) struct Known {
    name: OnceLock<String>,
    /// The last transaction of this process that was acknowledged; 0 before the first.
    transaction: AtomicI64,
}

/// Learns how a database is called that was just opened, and gives it a name if it has none. Who may not write there
/// does without.
pub(super) async fn name(connections: &Connections) {
    if !learn(connections).await && connections.write(&MAKE_NAME, &[]).await.is_ok() {
        learn(connections).await;
    }
}

/// Learns how a database is called that was just opened; false when it has no name.
pub(super) async fn learn(connections: &Connections) -> bool {
    let found = connections.read(&NAME, &[]).await;
    let name = found.ok().and_then(|found| found.first()?.try_get::<_, String>(0).ok());
    name.map(|name| connections.known().name.set(name)).is_some()
}

impl Known {
    /// Notes the transaction of a write, whose number is in a column of the answer.
    pub(super) fn note(&self, answer: &Result<Vec<Row>, Failure>, column: usize) {
        let number = answer.as_ref().ok().and_then(|rows| rows.first()?.try_get(column).ok().flatten());
        self.transaction.fetch_max(number.unwrap_or(0), Ordering::Relaxed);
    }

    /// Looks whether a new connection leads to this database.
    pub(super) async fn check(&self, client: &ClientWrapper, patience: Duration) -> Result<(), HookError> {
        let Some(name) = self.name.get() else { return Ok(()) };
        // A simple query, for which it does not matter what stands between.
        let last = self.transaction.load(Ordering::Relaxed);
        let facts = format!(
            "SELECT (SELECT value FROM excom.mark WHERE name = 'database'),
                 {last} = 0 OR CASE WHEN {last} < pg_snapshot_xmax(pg_current_snapshot())::text::int8
                     THEN coalesce(pg_xact_status('{last}'::xid8), 'committed') = 'committed' ELSE false END"
        );
        let facts = timeout(patience, client.simple_query(&facts)).await;
        let facts = facts.map_err(|_| HookError::message("it does not answer"))?;
        let no_tables = |error: &tokio_postgres::Error| {
            error.code().is_some_and(|state| ["42P01", "3F000"].contains(&state.code()))
        };
        let facts = match facts {
            Err(error) if no_tables(&error) => {
                return Err(HookError::message("none of Excom's tables are there"));
            }
            facts => facts.map_err(HookError::Backend)?,
        };
        let row = facts.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let (found, is_whole) = row.map_or((None, None), |row| (row.get(0), row.get(1)));
        if found != Some(name) {
            return Err(HookError::message("its tables are of another one, or were emptied"));
        }
        match is_whole {
            Some("t") => Ok(()),
            _ => Err(HookError::message(
                "it is an older state of it, in which what this process wrote and was acknowledged is missing",
            )),
        }
    }
}
