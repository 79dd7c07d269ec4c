//! The metadata database that settings name: a file in the home, one on a server, or Airflow's own there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use excom_core::{Error, ErrorKind, MetadataDb, Result};
use excom_db::{Fernet, sqlite};
use serde::Serialize;

use super::Home;
use crate::config::{DatabaseMode, Extras, Origin, Settings, Url};

pub use excom_db::{Part, Survey};

/// The schema of a metadata database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// Which database, safe to show.
    pub database: String,
    /// In an attached database, the first release of Airflow that has Airflow's schema there.
    pub airflow: Option<&'static str>,
    /// The version that is there; 0 when there is none yet.
    pub found: u32,
    /// The version that this Excom makes; 0 where settings say that there is to be none.
    pub newest: u32,
    /// In an attached database without a schema of Excom's, what does not work there.
    pub without: Option<&'static str>,
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
        Some(url) => match attached_file(url, settings) {
            Some(file) => attached_sqlite::schema(file, settings),
            None => server::schema(url, settings),
        },
        None => {
            let file = Home::of(settings).database();
            let found = sqlite::Db::schema(&file)?;
            Ok(Schema {
                database: name(settings),
                airflow: None,
                found,
                newest: sqlite::Db::SCHEMA,
                without: None,
            })
        }
    }
}

/// Makes what Excom has beside Airflow's tables in the database that settings name, or brings it up to date.
///
/// # Errors
/// [`ErrorKind::Configuration`] when the settings name a database of Excom's own, the database is not Airflow's, or
/// the user may not; otherwise as [`schema`].
pub fn attach(settings: &Settings) -> Result<Schema> {
    let url = airflows(settings)?;
    match attached_file(url, settings) {
        Some(file) => attached_sqlite::attach(file, settings),
        None => server::attach(url, settings),
    }
}

/// The statements that [`attach`] would run, for somebody who may; makes and changes nothing.
///
/// # Errors
/// As [`attach`].
pub fn attach_script(settings: &Settings) -> Result<String> {
    let url = airflows(settings)?;
    match attached_file(url, settings) {
        Some(file) => sqlite::attached::Db::script(file),
        None => server::script(url, settings),
    }
}

/// Looks at what fills the database that settings name: Excom's own, or that of an Airflow, 2 or 3, whether Excom is
/// attached to it or not. Each question may take so long, and nothing is written.
///
/// # Errors
/// [`ErrorKind::Configuration`] when the database has no XComs, or the user may not look; when it cannot be reached.
pub fn survey(settings: &Settings, patience: Duration) -> Result<Survey> {
    let threshold = settings.xcom.inline_limit.0;
    let Some(url) = &*settings.database.url else {
        return sqlite::survey(&Home::of(settings).database(), false, threshold, patience);
    };
    match (attached_file(url, settings), kind(url)) {
        (Some(file), _) => sqlite::survey(file, true, threshold, patience),
        (None, Some(Kind::Postgres)) => postgres::survey(url, settings, patience),
        (None, Some(Kind::Mysql)) => mysql::survey(url, settings, patience),
        (None, None) => Err(unknown(url, settings)),
    }
}

/// The URL of Airflow's database.
fn airflows(settings: &Settings) -> Result<&Url> {
    let database = &settings.database;
    if *database.mode == DatabaseMode::Attached && is_alone(settings) {
        let origin = database.extras.origin();
        let message = format!(
            "[database] extras = none (from {origin}): nothing of Excom's is to be in {}",
            name(settings)
        );
        return Err(
            Error::new(ErrorKind::Configuration, message).hint("leave [database] extras out to attach")
        );
    }
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
        Some(url) => match attached_file(url, settings) {
            Some(file) => attached_sqlite::open(file, settings, read_only),
            None => server::open(url, settings),
        },
        None => {
            let options = sqlite::Options { durability: *settings.database.durability, read_only };
            Ok(Arc::new(sqlite::Db::open(&Home::of(settings).database(), options)?))
        }
    }
}

/// The file that is attached to, where it is one.
fn attached_file<'a>(url: &'a Url, settings: &Settings) -> Option<&'a Path> {
    url.sqlite_file().filter(|_| *settings.database.mode == DatabaseMode::Attached)
}

/// Over how many elements tasks are mapped, where it is said. It is Airflow's to say: Excom's own default is for runs of
/// its own.
fn max_map_length(settings: &Settings) -> Option<u32> {
    let most = &settings.core.max_map_length;
    (!matches!(most.origin(), Origin::Default)).then_some(**most)
}

/// What Airflow encrypts with, where it is said.
fn fernet(settings: &Settings) -> Result<Option<Fernet>> {
    settings.core.fernet_key.as_ref().map(|keys| Fernet::parse(keys.secret())).transpose()
}

/// What is beside Airflow's tables in a database of a release's schema.
fn beside(airflow: &'static str, found: u32, newest: u32, settings: &Settings) -> Schema {
    Schema { database: name(settings), airflow: Some(airflow), found, newest, without: None }
}

/// Airflow's tables with nothing of ours beside them, as settings ask for.
fn alone(airflow: &'static str, without: &'static str, settings: &Settings) -> Schema {
    Schema { database: name(settings), airflow: Some(airflow), found: 0, newest: 0, without: Some(without) }
}

/// Whether the database is Airflow's.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn is_attached(settings: &Settings) -> bool {
    *settings.database.mode == DatabaseMode::Attached
}

/// Whether settings ask for that.
fn is_alone(settings: &Settings) -> bool {
    *settings.database.extras == Extras::None
}

/// Airflow's own SQLite file.
mod attached_sqlite {
    use excom_db::sqlite::Options;
    use excom_db::sqlite::attached::{Bare, Db};

    use super::*;

    pub(super) fn schema(file: &Path, settings: &Settings) -> Result<Schema> {
        if is_alone(settings) {
            return Ok(alone(Bare::look(file)?, Bare::WITHOUT, settings));
        }
        let found = Db::look(file)?;
        Ok(beside(found.airflow, found.version, Db::SCHEMA, settings))
    }

    pub(super) fn open(file: &Path, settings: &Settings, read_only: bool) -> Result<Arc<dyn MetadataDb>> {
        let options = Options { durability: *settings.database.durability, read_only };
        if is_alone(settings) {
            return Ok(Arc::new(Bare::open(file, options)?.with_fernet(fernet(settings)?)));
        }
        let db = Db::open(file, options)?.with_fernet(fernet(settings)?);
        Ok(Arc::new(match max_map_length(settings) {
            Some(most) => db.with_max_map_length(most),
            None => db,
        }))
    }

    pub(super) fn attach(file: &Path, settings: &Settings) -> Result<Schema> {
        let found = Db::attach(file)?;
        Ok(beside(found.airflow, found.version, Db::SCHEMA, settings))
    }
}

/// The error about a URL of a kind that there is none of.
fn unknown(url: &Url, settings: &Settings) -> Error {
    let message = format!(
        "[database] url = \"{url}\" (from {}) is of no database that is known",
        settings.database.url.origin()
    );
    Error::new(ErrorKind::Configuration, message).hint(
        "write postgresql:// or mysql://USER:PASSWORD@HOST:PORT/DATABASE, or nothing for an SQLite file in the home",
    )
}

/// The kinds of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Postgres,
    Mysql,
}

/// Of which kind a URL is, also with the name of a driver behind it.
fn kind(url: &Url) -> Option<Kind> {
    if url.is_postgres() {
        return Some(Kind::Postgres);
    }
    url.is_mysql().then_some(Kind::Mysql)
}

/// A database on a server: what is known of each kind.
mod server {
    use super::*;

    pub(super) fn schema(url: &Url, settings: &Settings) -> Result<Schema> {
        match kind(url) {
            Some(Kind::Postgres) => match *settings.database.mode {
                DatabaseMode::Own => postgres::schema(url, settings),
                DatabaseMode::Attached => attached::schema(url, settings),
            },
            Some(Kind::Mysql) => match *settings.database.mode {
                DatabaseMode::Own => mysql::schema(url, settings),
                DatabaseMode::Attached => attached_mysql::schema(url, settings),
            },
            None => Err(unknown(url, settings)),
        }
    }

    pub(super) fn open(url: &Url, settings: &Settings) -> Result<Arc<dyn MetadataDb>> {
        match kind(url) {
            Some(Kind::Postgres) => match *settings.database.mode {
                DatabaseMode::Own => postgres::open(url, settings),
                DatabaseMode::Attached => attached::open(url, settings),
            },
            Some(Kind::Mysql) => match *settings.database.mode {
                DatabaseMode::Own => mysql::open(url, settings),
                DatabaseMode::Attached => attached_mysql::open(url, settings),
            },
            None => Err(unknown(url, settings)),
        }
    }

    pub(super) fn attach(url: &Url, settings: &Settings) -> Result<Schema> {
        match kind(url) {
            Some(Kind::Postgres) => attached::attach(url, settings),
            Some(Kind::Mysql) => attached_mysql::attach(url, settings),
            None => Err(unknown(url, settings)),
        }
    }

    pub(super) fn script(url: &Url, settings: &Settings) -> Result<String> {
        match kind(url) {
            Some(Kind::Postgres) => attached::script(url, settings),
            Some(Kind::Mysql) => attached_mysql::script(url, settings),
            None => Err(unknown(url, settings)),
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use excom_db::postgres::{Db, Options, survey as survey_of};

    use super::*;

    pub(super) fn options(settings: &Settings) -> Options {
        let database = &settings.database;
        Options {
            connections: *database.connections as usize,
            prepare: *database.prepare,
            ..Options::default()
        }
    }

    pub(super) fn schema(url: &Url, settings: &Settings) -> Result<Schema> {
        let found = pollster::block_on(Db::schema(url.secret(), &options(settings)))?;
        Ok(Schema { database: name(settings), airflow: None, found, newest: Db::SCHEMA, without: None })
    }

    pub(super) fn open(url: &Url, settings: &Settings) -> Result<Arc<dyn MetadataDb>> {
        Ok(Arc::new(pollster::block_on(Db::open(url.secret(), &options(settings)))?))
    }

    pub(super) fn survey(url: &Url, settings: &Settings, patience: Duration) -> Result<Survey> {
        let (options, threshold) = (options(settings), settings.xcom.inline_limit.0);
        pollster::block_on(survey_of(url.secret(), &options, is_attached(settings), threshold, patience))
    }
}

#[cfg(feature = "postgres")]
mod attached {
    use excom_db::postgres::attached::{Bare, Db};

    use super::postgres::options;
    use super::*;

    pub(super) fn schema(url: &Url, settings: &Settings) -> Result<Schema> {
        if is_alone(settings) {
            let airflow = pollster::block_on(Bare::look(url.secret(), &options(settings)))?;
            return Ok(alone(airflow, Bare::WITHOUT, settings));
        }
        let found = pollster::block_on(Db::look(url.secret(), &options(settings)))?;
        Ok(beside(found.airflow, found.version, Db::SCHEMA, settings))
    }

    pub(super) fn open(url: &Url, settings: &Settings) -> Result<Arc<dyn MetadataDb>> {
        if is_alone(settings) {
            let db = pollster::block_on(Bare::open(url.secret(), &options(settings)))?;
            return Ok(Arc::new(db.with_fernet(fernet(settings)?)));
        }
        let db = pollster::block_on(Db::open(url.secret(), &options(settings)))?;
        let db = db.with_fernet(fernet(settings)?);
        Ok(Arc::new(match max_map_length(settings) {
            Some(most) => db.with_max_map_length(most),
            None => db,
        }))
    }

    pub(super) fn attach(url: &Url, settings: &Settings) -> Result<Schema> {
        let found = pollster::block_on(Db::attach(url.secret(), &options(settings)))?;
        Ok(beside(found.airflow, found.version, Db::SCHEMA, settings))
    }

    pub(super) fn script(url: &Url, settings: &Settings) -> Result<String> {
        pollster::block_on(Db::script(url.secret(), &options(settings)))
    }
}

#[cfg(feature = "mysql")]
mod attached_mysql {
    use excom_db::mysql::attached::{Bare, Db};

    use super::mysql::options;
    use super::*;

    pub(super) fn schema(url: &Url, settings: &Settings) -> Result<Schema> {
        if is_alone(settings) {
            let airflow = pollster::block_on(Bare::look(url.secret(), &options(settings)))?;
            return Ok(alone(airflow, Bare::WITHOUT, settings));
        }
        let found = pollster::block_on(Db::look(url.secret(), &options(settings)))?;
        Ok(beside(found.airflow, found.version, Db::SCHEMA, settings))
    }

    pub(super) fn open(url: &Url, settings: &Settings) -> Result<Arc<dyn MetadataDb>> {
        if is_alone(settings) {
            let db = pollster::block_on(Bare::open(url.secret(), &options(settings)))?;
            return Ok(Arc::new(db.with_fernet(fernet(settings)?)));
        }
        let db = pollster::block_on(Db::open(url.secret(), &options(settings)))?;
        let db = db.with_fernet(fernet(settings)?);
        Ok(Arc::new(match max_map_length(settings) {
            Some(most) => db.with_max_map_length(most),
            None => db,
        }))
    }

    pub(super) fn attach(url: &Url, settings: &Settings) -> Result<Schema> {
        let found = pollster::block_on(Db::attach(url.secret(), &options(settings)))?;
        Ok(beside(found.airflow, found.version, Db::SCHEMA, settings))
    }

    pub(super) fn script(url: &Url, settings: &Settings) -> Result<String> {
        pollster::block_on(Db::script(url.secret(), &options(settings)))
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use excom_db::mysql::{Db, Options, survey as survey_of};

    use super::*;

    pub(super) fn options(settings: &Settings) -> Options {
        Options { connections: *settings.database.connections as usize, ..Options::default() }
    }

    pub(super) fn schema(url: &Url, settings: &Settings) -> Result<Schema> {
        let found = pollster::block_on(Db::schema(url.secret(), &options(settings)))?;
        Ok(Schema { database: name(settings), airflow: None, found, newest: Db::SCHEMA, without: None })
    }

    pub(super) fn open(url: &Url, settings: &Settings) -> Result<Arc<dyn MetadataDb>> {
        Ok(Arc::new(pollster::block_on(Db::open(url.secret(), &options(settings)))?))
    }

    pub(super) fn survey(url: &Url, settings: &Settings, patience: Duration) -> Result<Survey> {
        let (options, threshold) = (options(settings), settings.xcom.inline_limit.0);
        pollster::block_on(survey_of(url.secret(), &options, is_attached(settings), threshold, patience))
    }
}

/// What stands for a kind that this program was built without.
macro_rules! without {
    ($feature:literal, $name:ident, $($function:ident($($more:ty)?) -> $made:ty),*) => {
        #[cfg(not(feature = $feature))]
        mod $name {
            use super::*;

            fn without(url: &Url) -> Error {
                let message = format!(
                    concat!("{} needs the feature `", $feature, "`, which this program has not"),
                    url
                );
                Error::new(ErrorKind::Configuration, message).hint(concat!(
                    "build it with the feature `",
                    $feature,
                    "` of the crate `excom`"
                ))
            }

            $(pub(super) fn $function(url: &Url, _settings: &Settings $(, _: $more)?) -> Result<$made> {
                Err(without(url))
            })*
        }
    };
}

without!(
    "postgres", postgres,
    schema() -> Schema, open() -> Arc<dyn MetadataDb>, survey(Duration) -> Survey
);
without!(
    "postgres", attached,
    schema() -> Schema, open() -> Arc<dyn MetadataDb>, attach() -> Schema, script() -> String
);
without!("mysql", mysql, schema() -> Schema, open() -> Arc<dyn MetadataDb>, survey(Duration) -> Survey);
without!(
    "mysql", attached_mysql,
    schema() -> Schema, open() -> Arc<dyn MetadataDb>, attach() -> Schema, script() -> String
);
