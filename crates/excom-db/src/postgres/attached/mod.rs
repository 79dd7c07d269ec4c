//! A metadata database that is Airflow's own, worked with in place.
//!
//! **Airflow's tables** `xcom`, `task_instance`, `task_instance_history`, `dag_run` and `serialized_dag` are read, and
//! `xcom` and `task_map` are written, as Airflow itself does; none is altered, and nothing of ours hangs on them: no column, index or trigger, and no view
//! or foreign key either, because Airflow's next migration would meet it. What these tables have no place for lies beside
//! them in a schema `excom` (`schema/`), which somebody has to allow: [`Db::attach`] makes it, [`Db::open`] never does.
//!
//! **An entry** is Airflow's row with, where Excom wrote it, a row of `excom.extra`: version, writer, size, hash, shape,
//! the beginning of the text for lists, and where the bytes are. The two belong together by the row's primary key *and*
//! its `timestamp`. Whoever writes a row without Excom (Airflow's REST API, its triggers, its scheduler) gives it another
//! time, so what was known of it counts no more: the entry is one "written outside Excom", whose version is that time.
//! Where a row is gone, by a cascade or `airflow db clean`, the next sweep finds what it left (`expiry`).
//!
//! **A value's text.** `jsonb` keeps a value and not its text. What it would give back otherwise than it was pushed is
//! kept in `excom.extra` too, and given back from there; Airflow reads its own column (`airflow`). What `jsonb` cannot hold
//! (NUL characters, numbers beyond its range, more than 268,435,455 bytes) is refused, as Airflow itself refuses it. In
//! the place of a value that is offloaded, Airflow's column has the reference, so that a person sees what it is; what
//! makes it one is `excom.extra`, so a value of somebody's own that looks like one stays that value. Of Airflow's two
//! stored forms Excom writes the plain one. It reads the other, JSON text in a JSON string, in rows that it did not
//! write, as Airflow's own models do; but only lists, dicts and strings, so that the string `"5"` stays a string.
//!
//! **The fence** is Airflow's task instance. Its id is the attempt's: while they are equal, the attempt may write. Airflow
//! gives a failed task instance the next id at once and keeps the old one in its history; the old one may write until the
//! new one has a start date of its own. Check and write are one statement, and the row's key is locked meanwhile, as
//! inserting an XCom does anyway: a next try waits, a heartbeat does not.
//!
//! **Mapped tasks** are expanded by Airflow's scheduler, which reads in its table `task_map` how long a list or a dict is
//! that an unmapped task returned. A push writes it, as Airflow's server does, where the DAG that Airflow has stored maps
//! tasks over it, or where that cannot be known.
//!
//! **Runs and states** are Airflow's. Starting an attempt is telling Excom of it: the first time, a fresh one clears. How
//! an attempt ends is checked and left to Airflow; making a run, or setting states of one, is refused.
//!
//! **Retention** concerns what Excom wrote. Airflow's runs, and rows of others, are `airflow db clean`'s; only rules that
//! say so catch rows of others (`excom prune --airflow`).
//!
//! **Migrations of Airflow.** Every write looks whether Airflow's schema is one that Excom was proven with, in the same
//! statement, and is refused otherwise; reads go on as long as the columns are there.

mod around;
mod bare;
mod columns;
mod expiry;
mod kept;
mod ledger;
mod loose;
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

use super::connection::{Connections, Options};
use super::failure::Failure;
use super::known;
use crate::expansion::{Expansion, MAX_MAP_LENGTH};
use crate::fernet::Fernet;
use crate::server::airflows_db;
pub use bare::Bare;
pub use schema::Found;
pub(super) use schema::told;

/// The metadata database of an Airflow 3, with Excom's schema beside Airflow's tables.
///
/// It may be used from any runtime and from none. Dropping it closes its connections.
pub struct Db(Tables);

/// What its statements are asked through.
struct Tables {
    /// Those of a database of Excom's own, for what does not depend on whose entries they are.
    own: super::Tables,
    expansion: Expansion,
    /// Whether there is nothing of Excom's beside Airflow's tables.
    is_bare: bool,
    /// Airflow's keys, where they were given.
    fernet: Option<Fernet>,
}

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

    /// Connects to Airflow's database. Nothing is made or changed.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when it is not Airflow's, or Excom was not
    /// attached to it; [`ErrorKind::Incompatible`](excom_core::ErrorKind::Incompatible) when Airflow's schema is not
    /// known or ours is newer; [`ErrorKind::Unavailable`](excom_core::ErrorKind::Unavailable).
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        let connections = Connections::new(url, options)?;
        let found = schema::look(&connections).await?;
        if found.version < Self::SCHEMA {
            return Err(schema::missing(&found, connections.place()));
        }
        known::learn(&connections).await;
        Ok(Self(Tables {
            own: super::Tables::new(connections),
            expansion: Expansion::up_to(MAX_MAP_LENGTH),
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
        schema::look(&Connections::new(url, options)?).await
    }

    /// The statements that [`Db::attach`] would run, as a script for somebody who may: each makes something in the
    /// schema `excom`. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::look`].
    pub async fn script(url: &str, options: &Options) -> Result<String> {
        Ok(schema::script(&Self::look(url, options).await?))
    }

    /// Makes the schema `excom` beside Airflow's tables, or brings it up to date; what is there stays.
    ///
    /// # Errors
    /// As [`Db::look`]; [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when the user may not.
    pub async fn attach(url: &str, options: &Options) -> Result<Found> {
        let connections = Connections::new(url, options)?;
        loop {
            let found = schema::look(&connections).await?;
            match connections.script(&schema::script(&found)).await {
                Ok(()) => return schema::look(&connections).await,
                // Another process was faster; what it made is looked at.
                Err(failure) if schema::look(&connections).await?.version > found.version => drop(failure),
                Err(failure) => {
                    let error = schema::told(failure, connections.place());
                    return Err(match error.kind() {
                        excom_core::ErrorKind::Configuration => error.hint(
                            "or somebody who may runs the script that `excom db attach --dry-run` prints, and then \
                             grants this user what docs/attached.md lists",
                        ),
                        _ => error,
                    });
                }
            }
        }
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
