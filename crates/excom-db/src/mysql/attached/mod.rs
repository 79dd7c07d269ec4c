//! A metadata database that is Airflow's own, on MySQL or MariaDB, worked with in place. What that means, and why, is said
//! of PostgreSQL's (`postgres/attached`) and in docs/attached.md; here is what differs.
//!
//! **Beside.** What Airflow's tables have no place for lies in a database of the same server, `excom` or another (`beside`
//! in the URL), which [`Db::attach`] alone makes. Its tables are those of a database of Excom's own, and what has ended,
//! what was read and objects without an entry are in them as there. A connection works in that database;
//! statements call Airflow's `airflow`.
//!
//! **An entry** is Airflow's row with, where Excom wrote it, a row of `excom_entry`. The two belong together while the
//! row's `timestamp` is the time that is in the version.
//!
//! **A value's text.** MariaDB's JSON is a text, so it is stored once, in Airflow's column. MySQL's is none, so the text is
//! in `excom_entry` as well.
//!
//! **The fence** locks Airflow's task instance shared, as the foreign key of `xcom` does for an insert anyway: a next try
//! and a heartbeat wait for the end of a push. Who else waits for whom is said in `names`.
//!
//! **Mapped tasks.** The process looks into the document that Airflow has of a DAG, once for each (`expansion`).
//!
//! **Names.** Airflow's columns may take names for the same that differ: all comparisons are to the byte as well, and what
//! would write over another key's row is refused.

mod around;
mod bare;
mod columns;
mod expiry;
mod kept;
mod outside;
mod own;
mod read;
mod row;
mod runs;
mod schema;
mod theirs;
mod variables;
mod write;

use std::fmt;

use excom_core::Result;

use super::connection::{Connection, Connections, Options};
use super::failure::Failure;
use super::known;
use crate::expansion::{Expansion, MAX_MAP_LENGTH};
use crate::fernet::Fernet;
use crate::server::airflows_db;
pub use bare::Bare;
pub(super) use expiry::ORPHANS;
pub use schema::Found;

/// The metadata database of an Airflow 3 on MySQL or MariaDB, with Excom's database beside it.
///
/// It may be used from any runtime and from none. Dropping it closes its connections.
pub struct Db(Tables);

/// What its statements are asked through.
struct Tables {
    /// Our tables, as those of a database of Excom's own.
    own: super::Tables,
    /// Airflow's database itself, where ours may not be.
    airflows: Connections,
    /// Whether Airflow's column gives a text back as it was written.
    keeps_text: bool,
    expansion: Expansion,
    /// Whether there is no database of ours.
    is_bare: bool,
    /// Airflow's keys, where they were given.
    fernet: Option<Fernet>,
}

/// A connection in a transaction about Airflow's rows.
struct Airflow<'a>(&'a mut Connection);

impl Tables {
    /// Which database it is, for people.
    fn place(&self) -> &str {
        self.own.connections.place()
    }

    /// What encrypts variables, and opens them.
    fn keys(&self) -> Fernet {
        self.fernet.clone().unwrap_or_default()
    }
}

impl Db {
    /// The version of the schema beside Airflow's tables that this Excom makes.
    pub const SCHEMA: u32 = schema::VERSION;

    /// Connects to Airflow's database. Nothing is made or changed. The URL is that of a database of Excom's own, with
    /// `?beside=NAME` where ours is not called `excom`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when it is not Airflow's, or Excom was not
    /// attached to it; [`ErrorKind::Incompatible`](excom_core::ErrorKind::Incompatible) when Airflow's schema is not
    /// known or ours is newer; [`ErrorKind::Unavailable`](excom_core::ErrorKind::Unavailable).
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        let airflows = Connections::airflows(url, options)?;
        let found = schema::look(&airflows).await?;
        if found.version < Self::SCHEMA {
            return Err(schema::missing(&found, airflows.place(), airflows.ours()));
        }
        let own = super::Tables { connections: Connections::beside(url, options)? };
        known::name(&own.connections).await;
        let expansion = Expansion::up_to(MAX_MAP_LENGTH);
        Ok(Self(Tables {
            own,
            airflows,
            keeps_text: found.keeps_text,
            expansion,
            is_bare: false,
            fernet: None,
        }))
    }

    /// With the most elements that a value may have over which Airflow's tasks are mapped: Airflow's own setting
    /// `[core] max_map_length`, and 1024 unless it is said. More are refused, as by Airflow.
    #[must_use]
    pub fn with_max_map_length(mut self, most: u32) -> Self {
        self.0.expansion = Expansion::up_to(most);
        self
    }

    /// With the keys of Airflow's own `[core] fernet_key`, for variables and connections. Without any, variables are written in
    /// the clear and those that are encrypted cannot be read; and without this no connections are read.
    #[must_use]
    pub fn with_fernet(mut self, keys: impl Into<Option<Fernet>>) -> Self {
        self.0.fernet = keys.into();
        self
    }

    /// Looks at a database. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::open`], but not when Excom was not attached to it.
    pub async fn look(url: &str, options: &Options) -> Result<Found> {
        schema::look(&Connections::airflows(url, options)?).await
    }

    /// The statements that [`Db::attach`] would run, as a script for somebody who may: the first makes our database, each
    /// other something in it. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::look`].
    pub async fn script(url: &str, options: &Options) -> Result<String> {
        let airflows = Connections::airflows(url, options)?;
        Ok(schema::script(&schema::look(&airflows).await?, airflows.ours()))
    }

    /// Makes our database beside Airflow's, or brings it up to date; what is there stays.
    ///
    /// # Errors
    /// As [`Db::look`]; [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when the user may not.
    pub async fn attach(url: &str, options: &Options) -> Result<Found> {
        let airflows = Connections::airflows(url, options)?;
        let found = schema::look(&airflows).await?;
        let script = &*schema::script(&found, airflows.ours());
        if script.is_empty() {
            return Ok(found);
        }
        // Its last database is ours, so the connection is used for nothing else.
        let maker = Connections::airflows(url, options)?;
        let made = maker.alone(|mut connection| async move {
            let made = connection.script(script).await;
            (connection, made)
        });
        made.await.map_err(|failure| {
            let error = failure.into_error(airflows.place());
            match error.kind() {
                excom_core::ErrorKind::Configuration => error.hint(
                    "or somebody who may runs the script that `excom db attach --dry-run` prints, and then grants this \
                     user what docs/attached.md lists",
                ),
                _ => error,
            }
        })?;
        schema::look(&airflows).await
    }

    fn told<T>(&self, result: Result<T, impl Into<Failure>>) -> Result<T> {
        result.map_err(|failure| schema::told(failure.into(), self.0.own.connections.place()))
    }
}

impl fmt::Display for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, attached", self.0.own.connections.place())
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

airflows_db!(Db);
