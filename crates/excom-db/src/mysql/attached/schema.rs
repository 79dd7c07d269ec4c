//! Whose database it is: which schema of Airflow's is there, and what of ours is beside it.

use excom_core::{Error, ErrorKind, Result};
use mysql_async::Row;

use super::super::connection::{Connections, named, quoted};
use super::super::failure::Failure;
use super::super::row;

/// Schemas of Airflow's that were proven, by what `alembic_version` says, and the first release that has each.
const AIRFLOW: [(&str, &str); 1] = [("d2f4e1b3c5a7", "3.3.0")];

/// Each brings our schema from the version before to its own, counted from 1, with the oldest version whose programs go
/// on working with it. A statement may be run again, because MySQL ends a transaction with each table that it makes.
const MIGRATIONS: [(&str, i32); 2] = [
    (concat!(include_str!("../migrations/0001.sql"), include_str!("migrations/0001.sql")), 1),
    (include_str!("../migrations/0002.sql"), 2),
];

/// The version of our schema that this code reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// What migrations were made.
const ATTACHED: &str = "CREATE TABLE IF NOT EXISTS excom_attached (
    version     INT NOT NULL PRIMARY KEY,
    works_since INT NOT NULL,
    made        TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;";

/// What is there: Airflow's tables, whether its column keeps a text as it is, and, in our database, tables of ours, of a
/// database of Excom's own, and all.
const FACTS: &str = "SELECT
    (SELECT COUNT(*) FROM information_schema.tables
     WHERE table_schema = DATABASE() AND table_name IN ('alembic_version', 'xcom', 'task_instance_history')),
    (SELECT COUNT(*) FROM information_schema.columns
     WHERE table_schema = DATABASE() AND table_name = 'xcom' AND column_name = 'value' AND data_type = 'longtext'),
    (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = :ours AND table_name = 'excom_attached'),
    (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = :ours AND table_name = 'excom_migration'),
    (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = :ours)";

const REVISION: &str = "SELECT MAX(version_num) FROM alembic_version";

/// What is found in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The first release of Airflow that has its schema.
    pub airflow: &'static str,
    /// The version of our schema beside it; 0 when there is none yet.
    pub version: u32,
    /// Whether Airflow's column gives a text back as it was written.
    pub(super) keeps_text: bool,
}

/// The release of Airflow's that first had a schema; none when it is not known.
pub(super) fn release(revision: &str) -> Option<&'static str> {
    AIRFLOW.into_iter().find(|(known, _)| *known == revision).map(|(_, release)| release)
}

/// All that `attach` runs in a database of which this was found. The last statement notes that the others were run.
pub(super) fn script(found: &Found, ours: &str) -> String {
    let ours = quoted(ours);
    let mut script = String::new();
    for (place, (sql, works_since)) in MIGRATIONS.iter().enumerate().skip(found.version as usize) {
        let version = place + 1;
        script += &format!(
            "CREATE DATABASE IF NOT EXISTS {ours};\nUSE {ours};\n\n{sql}\n{ATTACHED}\n\n\
             INSERT IGNORE INTO excom_attached (version, works_since) VALUES ({version}, {works_since});\n"
        );
    }
    script
}

/// A failure as its error; where what lies beside Airflow's tables is missing or older, with what makes it.
pub(super) fn told(failure: Failure, place: &str) -> Error {
    if failure.is_missing() {
        return Error::new(
            ErrorKind::Incompatible,
            format!("what Excom needs beside Airflow's tables of {place} is not there"),
        )
        .hint("run `excom db check`; `excom db attach` makes what is missing beside Airflow's tables");
    }
    failure.into_error(place)
}

/// Looks at a database and changes nothing. The connections are to Airflow's.
///
/// # Errors
/// `Configuration` when it is not Airflow's; `Incompatible` when Airflow's schema is not known, ours is newer than this
/// code can work with, or our database is another one.
pub(super) async fn look(connections: &Connections) -> Result<Found> {
    let (mut found, facts) = airflows(connections).await?;
    let (place, ours) = (connections.place(), connections.ours());
    let told = |failure: Failure| failure.into_error(place);
    let refuse = |kind, what: String, hint: &str| Err(Error::new(kind, what).hint(hint.to_owned()));
    let fact = |at| row::int(&facts, at).map_err(told);
    if fact(3)? > 0 {
        return refuse(
            ErrorKind::Incompatible,
            format!("the database `{ours}` beside {place} is one of Excom's own; it was not touched"),
            "to attach, name another one that may be made: add `?beside=NAME` to the URL",
        );
    }
    if fact(2)? == 0 {
        // An attempt to attach that was interrupted leaves tables of ours, and nothing that notes them.
        return Ok(found);
    }
    let newest = format!(
        "SELECT version, works_since FROM {}.excom_attached ORDER BY version DESC LIMIT 1",
        quoted(ours)
    );
    let newest = connections.read(&newest, named! {}).await.map_err(told)?;
    let Some(newest) = newest.first() else { return Ok(found) };
    let (version, works_since) =
        (row::unsigned(newest, 0).map_err(told)?, row::unsigned(newest, 1).map_err(told)?);
    if works_since > VERSION {
        return refuse(
            ErrorKind::Incompatible,
            format!(
                "{place} has the attached schema {version}, which needs an Excom that knows schema {works_since}; this \
                 one knows {VERSION}; it was not touched"
            ),
            "use the newer Excom that attached it",
        );
    }
    found.version = version;
    Ok(found)
}

/// Which Airflow has a database, whatever is beside it, and the facts. The connections are to Airflow's.
///
/// # Errors
/// As [`look`], but for what is ours.
pub(super) async fn airflows(connections: &Connections) -> Result<(Found, Row)> {
    let (place, ours) = (connections.place(), connections.ours());
    let told = |failure: Failure| failure.into_error(place);
    let facts = connections.read(FACTS, named! { "ours" => ours }).await.map_err(told)?;
    let Some(facts) = facts.into_iter().next() else {
        return Err(told(super::super::failure::damaged("no facts")));
    };
    let fact = |at| row::int(&facts, at).map_err(told);
    if fact(0)? < 3 {
        let what = format!("{place} is not the metadata database of an Airflow 3");
        return Err(Error::new(ErrorKind::Configuration, what)
            .hint("name the database of [database] sql_alchemy_conn"));
    }
    let revision = connections.read(REVISION, named! {}).await.map_err(told)?;
    let revision = revision.first().map(|found| row::optional_str(found, 0)).transpose().map_err(told)?;
    let revision = revision.flatten().unwrap_or_default();
    let Some(airflow) = release(revision) else { return Err(unknown(revision, place)) };
    let found = Found { airflow, version: 0, keeps_text: fact(1)? > 0 };
    Ok((found, facts))
}

/// The refusal of a schema of Airflow's that was not proven.
pub(super) fn unknown(revision: &str, place: &str) -> Error {
    let [first] = AIRFLOW;
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "{place} has the schema `{revision}` of Airflow, which this Excom was not proven with on MySQL and MariaDB: \
             it knows that of Airflow {}; nothing was written",
            first.1
        ),
    )
    .hint("while `airflow db migrate` is under way, wait for its end")
    .hint("otherwise use an Excom that knows this Airflow, or go on without: Airflow's tables are as it left them")
}

/// The refusal of a database in which our schema is not there yet, or is older.
pub(super) fn missing(found: &Found, place: &str, ours: &str) -> Error {
    let what = match found.version {
        0 => format!("Excom is not attached to it yet: nothing of it is in the database `{ours}`"),
        version => format!("it has the attached schema {version}, and this Excom needs {VERSION}"),
    };
    Error::new(
        ErrorKind::Configuration,
        format!("{place} is a database of Airflow {}, and {what}", found.airflow),
    )
    .hint("run `excom db attach` once, as a user who may create databases; with `--dry-run` it prints what it would make")
    .hint("where nobody may have it: [database] extras = \"none\" goes on with Airflow's tables alone (docs/attached.md)")
}
