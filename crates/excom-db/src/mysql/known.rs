//! By what a database is known again over each new connection. After a failover another server may answer at its
//! address: one that has nothing, or not all that was acknowledged. There an XCom would seem never to have been pushed,
//! so nothing is asked of it.
//!
//! Each entry gets a number, and no number is given twice: not after entries went, nor when a transaction was undone or
//! the server restarted. So a server that has not yet given the number of an entry of ours lacks what we pushed. One that
//! has given it to another lacks it too, which is not told: it can be only where several pushes were under way at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use mysql_async::Params;

use super::connection::{Connection, Connections};
use super::failure::Failure;
use super::row;

/// The database's own name, which it gets once.
const NAME: &str = "SELECT value FROM excom_mark WHERE name = 'database'";

const MAKE_NAME: &str = "INSERT IGNORE INTO excom_mark (name, value) VALUES ('database', UUID())";

/// The name, and which number the next entry gets. Nobody who holds the table is waited for, but while it is altered.
const FACTS: &str = "SELECT (SELECT value FROM excom_mark WHERE name = 'database'),
    (SELECT CAST(auto_increment AS SIGNED) FROM information_schema.tables
     WHERE table_schema = DATABASE() AND table_name = 'excom_entry')";

/// The last number that an entry has: one end of an index.
const NEWEST: &str = "SELECT COALESCE(MAX(id), 0) FROM excom_entry";

/// What is known of a database.
#[derive(Debug, Default)]
pub(super) struct Known {
    name: OnceLock<String>,
    /// The number of the last entry of this process that was acknowledged; 0 before the first.
    entry: AtomicI64,
}

/// Learns how a database is called that was just opened, and gives it a name if it has none. Who may not write there
/// does without.
pub(super) async fn name(connections: &Connections) {
    if !learn(connections).await {
        let made = connections.alone(|mut connection: Connection| async {
            let made = connection.change(MAKE_NAME, Params::Empty).await;
            (connection, made)
        });
        if made.await.is_ok() {
            learn(connections).await;
        }
    }
}

/// Learns how a database is called; false when it has no name.
async fn learn(connections: &Connections) -> bool {
    let found = connections.read(NAME, Params::Empty).await;
    let name = found.ok().and_then(|found| row::str(found.first()?, 0).ok().map(str::to_owned));
    name.map(|name| connections.known().name.set(name)).is_some()
}

impl Known {
    /// Whether there is something to know it by.
    pub(super) fn is_named(&self) -> bool {
        self.name.get().is_some()
    }

    /// Notes an entry that was acknowledged.
    pub(super) fn note(&self, entry: i64) {
        self.entry.fetch_max(entry, Ordering::Relaxed);
    }

    /// What tells that a new connection does not lead to this database.
    pub(super) async fn difference(
        &self,
        connection: &mut Connection,
    ) -> Result<Option<&'static str>, Failure> {
        // Before the question: what is pushed meanwhile may be there or not.
        let last = self.entry.load(Ordering::Relaxed);
        let facts = connection.one(FACTS, Params::Empty).await?;
        let name = facts.as_ref().map(|facts| row::optional_str(facts, 0)).transpose()?.flatten();
        let (Some(facts), true) = (&facts, name == self.name.get().map(String::as_str)) else {
            return Ok(Some("its tables are of another one, or were emptied"));
        };
        if row::optional(facts, 1)?.is_none_or(|next| next > last) {
            return Ok(None);
        }
        // A replica may have got the rows and not have counted.
        let newest = connection.one(NEWEST, Params::Empty).await?;
        let newest = newest.map(|newest| row::int(&newest, 0)).transpose()?;
        Ok((newest.unwrap_or(0) < last).then_some(
            "it is an older state of it, in which what this process wrote and was acknowledged is missing",
        ))
    }
}
