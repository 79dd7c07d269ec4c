//! A metadata database on a MySQL or MariaDB server, for any number of processes on any number of machines.
//!
//! Everything lies in tables `excom_…` of the database that the URL names. A read is one statement; what checks and
//! writes is one transaction of several. Who waits for whom is said in `names`.

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
mod variables;
mod write;

use std::fmt;

use excom_core::Result;

use connection::Connections;
pub use connection::Options;
use failure::Failure;
pub use survey::survey;

use crate::server::own_db;

/// The metadata database on a MySQL or MariaDB server.
///
/// It may be used from any runtime and from none. Dropping it closes its connections.
pub struct Db(Tables);

/// What its statements are asked through.
struct Tables {
    connections: Connections,
}

impl Db {
    /// The version of the schema that this Excom makes.
    pub const SCHEMA: u32 = schema::VERSION;

    /// Connects to a database and brings its schema up to date. The URL is
    /// `mysql://USER:PASSWORD@HOST:PORT/DATABASE` or `mariadb://…`, also with a driver's name as SQLAlchemy spells it:
    /// `mysql+pymysql://`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when the URL cannot be read, or the server
    /// refuses the user or has no such database; [`ErrorKind::Incompatible`](excom_core::ErrorKind::Incompatible) when
    /// its schema is another program's or newer; [`ErrorKind::Unavailable`](excom_core::ErrorKind::Unavailable).
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        let connections = Connections::new(url, options)?;
        schema::migrate(&connections).await?;
        known::name(&connections).await;
        Ok(Self(Tables { connections }))
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

own_db!(Db);
