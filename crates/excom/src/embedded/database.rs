//! The metadata database that settings name: a file in the home, one on a server, or Airflow's own there.

use std::sync::Arc;

use excom_core::{Error, ErrorKind, MetadataDb, Result};
use excom_db::sqlite;
use serde::Serialize;

use super::Home;
use crate::config::{DatabaseMode, Settings, Url};

/// The schema of a metadata database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// Which database, safe to show.
    pub database: String,
    /// In an attached database, the first release of Airflow that has Airflow's schema there.
    pub airflow: Option<&'static str>,
    /// The version that is there; 0 when there is none yet.
    pub found: u32,
    /// The version that this Excom makes.
    pub newest: u32,
}

impl Schema {
    /// Whether a migration is to be made before anything is written.
    pub fn is_older(&self) -> bool {
        self.found < self.newest
    }
}

/// Looks at the schema; makes and changes nothing.
///
/// # Errors
/// [`ErrorKind::Incompatible`] when it is another program's, or too new to be worked with; when the database cannot be
/// reached or read.
pub fn schema(settings: &Settings) -> Result<Schema> {
    match &*settings.database.url {
        Some(url) => server::schema(url, settings),
        None => {
            let file = Home::of(settings).database();
            let found = sqlite::Db::schema(&file)?;
            Ok(Schema { database: name(settings), airflow: None, found, newest: sqlite::Db::SCHEMA })
        }
    }
}

/// Makes what Excom has beside Airflow's tables in the database that settings name, or brings it up to date.
///
/// # Errors
/// [`ErrorKind::Configuration`] when the settings name a database of Excom's own, the database is not Airflow's, or
/// the user may not; otherwise as [`schema`].
pub fn attach(settings: &Settings) -> Result<Schema> {
    server::attach(airflows(settings)?, settings)
}

/// The statements that [`attach`] would run, for somebody who may; makes and changes nothing.
///
/// # Errors
/// As [`attach`].
pub fn attach_script(settings: &Settings) -> Result<String> {
    server::attach_script(airflows(settings)?, settings)
}

/// The URL of Airflow's database.
fn airflows(settings: &Settings) -> Result<&Url> {
    let database = &settings.database;
    database.url.as_ref().filter(|_| *database.mode == DatabaseMode::Attached).ok_or_else(|| {
        let message = format!(
            "[database] mode = {} (from {}): {} is a database of Excom's own, which is attached to no Airflow",
            database.mode.text(),
            database.mode.origin(),
            name(settings)
        );
        Error::new(ErrorKind::Configuration, message)
            .hint("set [database] mode = \"attached\" (EXCOM__DATABASE__MODE), and [database] url to Airflow's database")
    })
}

/// Which database settings name, safe to show.
pub fn name(settings: &Settings) -> String {
    match &*settings.database.url {
        Some(url) => url.to_string(),
        None => Home::of(settings).database().display().to_string(),
    }
}

pub(super) fn open(settings: &Settings, read_only: bool) -> Result<Arc<dyn MetadataDb>> {
    match &*settings.database.url {
        Some(url) => server::open(url, settings),
        None => {
            let options = sqlite::Options { durability: *settings.database.durability, read_only };
            Ok(Arc::new(sqlite::Db::open(&Home::of(settings).database(), options)?))
        }
    }
}

/// The error about a URL of a kind that there is none of.
fn unknown(url: &Url, settings: &Settings) -> Error {
    let message = format!(
        "[database] url = \"{url}\" (from {}) is of no database that is known",
        settings.database.url.origin()
    );
    Error::new(ErrorKind::Configuration, message).hint(
        "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or nothing for an SQLite file in the home",
    )
}

#[cfg(feature = "postgres")]
mod server {
    use excom_db::postgres::{Db, Options, attached};
    use pollster::block_on;

    use super::*;

    fn options(settings: &Settings) -> Options {
        let database = &settings.database;
        Options { connections: *database.connections as usize, prepare: *database.prepare }
    }

    pub(super) fn schema(url: &Url, settings: &Settings) -> Result<Schema> {
        if !url.is_postgres() {
            return Err(unknown(url, settings));
        }
        let options = options(settings);
        match *settings.database.mode {
            DatabaseMode::Own => {
                let found = block_on(Db::schema(url.secret(), &options))?;
                Ok(Schema { database: name(settings), airflow: None, found, newest: Db::SCHEMA })
            }
            DatabaseMode::Attached => {
                Ok(beside(&block_on(attached::Db::look(url.secret(), &options))?, settings))
            }
        }
    }

    /// What is beside Airflow's tables.
    fn beside(found: &attached::Found, settings: &Settings) -> Schema {
        Schema {
            database: name(settings),
            airflow: Some(found.airflow),
            found: found.version,
            newest: attached::Db::SCHEMA,
        }
    }

    pub(super) fn open(url: &Url, settings: &Settings) -> Result<Arc<dyn MetadataDb>> {
        if !url.is_postgres() {
            return Err(unknown(url, settings));
        }
        let options = options(settings);
        Ok(match *settings.database.mode {
            DatabaseMode::Own => Arc::new(block_on(Db::open(url.secret(), &options))?),
            DatabaseMode::Attached => Arc::new(block_on(attached::Db::open(url.secret(), &options))?),
        })
    }

    pub(super) fn attach(url: &Url, settings: &Settings) -> Result<Schema> {
        Ok(beside(&block_on(attached::Db::attach(url.secret(), &options(settings)))?, settings))
    }

    pub(super) fn attach_script(url: &Url, settings: &Settings) -> Result<String> {
        block_on(attached::Db::script(url.secret(), &options(settings)))
    }
}

#[cfg(not(feature = "postgres"))]
mod server {
    use super::*;

    fn without(url: &Url, settings: &Settings) -> Error {
        if !url.is_postgres() {
            return unknown(url, settings);
        }
        let message = format!("{url} needs the feature `postgres`, which this program has not");
        Error::new(ErrorKind::Configuration, message)
            .hint("build it with the feature `postgres` of the crate `excom`")
    }

    pub(super) fn schema(url: &Url, settings: &Settings) -> Result<Schema> {
        Err(without(url, settings))
    }

    pub(super) fn open(url: &Url, settings: &Settings) -> Result<Arc<dyn MetadataDb>> {
        Err(without(url, settings))
    }

    pub(super) fn attach(url: &Url, settings: &Settings) -> Result<Schema> {
        Err(without(url, settings))
    }

    pub(super) fn attach_script(url: &Url, settings: &Settings) -> Result<String> {
        Err(without(url, settings))
    }
}
