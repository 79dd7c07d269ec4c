//! A metadata database on a PostgreSQL server, for any number of processes on any number of machines.
//!
//! Everything lies in a schema of its own, `excom`. A read is one statement; what checks and writes is one call of a
//! function of that schema (`migrations/`), so it is whole or not at all, one round trip, and needs no state between
//! two statements. Who waits for whom is said there.

mod around;
mod assets;
pub mod attached;
mod connection;
mod expiry;
mod failure;
mod kept;
mod known;
mod ledger;
mod loose;
mod names;
mod notes;
mod read;
mod refusals;
mod results;
mod retain;
mod row;
mod runs;
mod schema;
mod survey;
mod tls;
mod together;
mod variables;
mod write;

use std::fmt;
use std::sync::Arc;

use excom_core::{Result, XComKey};
use tokio_postgres::Row;

use connection::Connections;
pub use connection::Options;
use failure::Failure;
use names::Names;
pub use survey::survey;
use together::Together;

use crate::server::own_db;

/// Lanes of pushes: one writes while another waits for the disk.
const WRITERS: usize = 2;

/// The metadata database on a PostgreSQL server.
///
/// It may be used from any runtime and from none. Dropping it closes its connections.
pub struct Db(Tables);

/// What its statements are asked through.
struct Tables {
    // Before the connections, over which they ask.
    pulls: Together<Vec<XComKey>, Option<Vec<(usize, Row)>>>,
    pushes: Together<Arc<write::Row>, write::Shared>,
    connections: Arc<Connections>,
}

impl Tables {
    fn new(connections: Connections) -> Self {
        let connections = Arc::new(connections);
        let reactor = connections.reactor();
        // A lane must not keep the connections, which close with the callers.
        let open = Arc::downgrade(&connections);
        let pulls = Together::start(reactor, connection::READERS, {
            let open = open.clone();
            move |keys| read::together(open.upgrade(), keys)
        });
        let names = Arc::new(Names::default());
        let pushes = Together::start(reactor, WRITERS, move |rows| {
            write::together(open.upgrade(), names.clone(), rows)
        });
        Self { pulls, pushes, connections }
    }
}

impl Db {
    /// The version of the schema that this Excom makes.
    pub const SCHEMA: u32 = schema::VERSION;

    /// Connects to a database and brings its schema up to date. The URL is spelt as for libpq and SQLAlchemy:
    /// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, also with a driver's name, as in `postgresql+psycopg2://`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when the URL cannot be read, or the server
    /// refuses the user or has no such database; [`ErrorKind::Incompatible`](excom_core::ErrorKind::Incompatible) when
    /// its schema is another program's or newer; [`ErrorKind::Unavailable`](excom_core::ErrorKind::Unavailable).
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        let connections = Connections::new(url, options)?;
        schema::migrate(&connections).await?;
        known::name(&connections).await;
        Ok(Self(Tables::new(connections)))
    }

    /// The version of the schema in a database; 0 when there is none. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub async fn schema(url: &str, options: &Options) -> Result<u32> {
        schema::version(&Connections::new(url, options)?).await
    }

    fn told<T>(&self, result: Result<T, impl Into<Failure>>) -> Result<T> {
        result.map_err(|failure| failure.into().into_error(self.0.connections.place()))
    }
}

impl fmt::Display for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.connections.place())
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

own_db!(
    Db,
    async fn expire_next(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
        at: Timestamp,
    ) -> Result<(Removed, Option<Place>)> {
        self.told(self.0.expire_next(rules, dag_id, after, limit, at).await)
    }
);
