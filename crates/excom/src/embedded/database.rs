//! The metadata database that settings name: a file in the home, or one on a server.

use std::sync::Arc;

use excom_core::{Error, ErrorKind, MetadataDb, Result};
use excom_db::sqlite;
use serde::Serialize;

use super::Home;
use crate::config::{Settings, Url};

/// The schema of a metadata database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// Which database, safe to show.
    pub database: String,
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
            Ok(Schema { database: name(settings), found, newest: sqlite::Db::SCHEMA })
        }
    }
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

/// Whether a URL is of PostgreSQL, also with the name of a driver behind it.
fn is_postgres(url: &Url) -> bool {
    let scheme = url.scheme();
    matches!(scheme.split_once('+').map_or(scheme, |(scheme, _)| scheme), "postgresql" | "postgres")
}

#[cfg(feature = "postgres")]
mod server {
    use excom_db::postgres::{Db, Options};

    use super::*;

    fn options(settings: &Settings) -> Options {
        let database = &settings.database;
        Options { connections: *database.connections as usize, prepare: *database.prepare }
    }

    pub(super) fn schema(url: &Url, settings: &Settings) -> Result<Schema> {
        if !is_postgres(url) {
            return Err(unknown(url, settings));
        }
        let found = pollster::block_on(Db::schema(url.secret(), &options(settings)))?;
        Ok(Schema { database: name(settings), found, newest: Db::SCHEMA })
    }

    pub(super) fn open(url: &Url, settings: &Settings) -> Result<Arc<dyn MetadataDb>> {
        if !is_postgres(url) {
            return Err(unknown(url, settings));
        }
        Ok(Arc::new(pollster::block_on(Db::open(url.secret(), &options(settings)))?))
    }
}

#[cfg(not(feature = "postgres"))]
mod server {
    use super::*;

    fn without(url: &Url, settings: &Settings) -> Error {
        if !is_postgres(url) {
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
}
