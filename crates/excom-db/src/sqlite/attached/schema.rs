//! Whose database it is: which schema of Airflow's is there, and what of ours is beside it.

use std::path::Path;

use excom_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension};

use super::super::failure::{Failure, told};

/// Schemas of Airflow's that were proven, by what `alembic_version` says, and the first release that has each.
const AIRFLOW: [(&str, &str); 6] = [
    ("29ce7909c52b", "3.0.0"),
    ("fe199e1abd77", "3.0.3"),
    ("cc92b33c6709", "3.1.0"),
    ("509b94a1042d", "3.1.8"),
    ("1d6611b6ab7c", "3.2.0"),
    ("d2f4e1b3c5a7", "3.3.0"),
];

/// Each brings our schema from the version before to its own, counted from 1, with the oldest version whose programs go
/// on working with it.
const MIGRATIONS: [(&str, u32); 2] =
    [(include_str!("migrations/0001.sql"), 1), (include_str!("../migrations/0006.sql"), 2)];

/// The version of our schema that this code reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// What migrations were made.
const ATTACHED: &str = "CREATE TABLE IF NOT EXISTS excom_attached (
    version     INTEGER PRIMARY KEY,
    works_since INTEGER NOT NULL
);";

/// Airflow's tables, the note of ours, and all that have our names.
const FACTS: &str =
    "SELECT count(*) FILTER (WHERE name IN ('alembic_version', 'xcom', 'task_instance_history')),
        count(*) FILTER (WHERE name = 'excom_attached'),
        count(*) FILTER (WHERE substr(name, 1, 6) = 'excom_')
    FROM sqlite_schema WHERE type IN ('table', 'view')";

const REVISION: &str = "SELECT max(version_num) FROM alembic_version";

/// What is found in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The first release of Airflow that has its schema.
    pub airflow: &'static str,
    /// The version of our schema beside it; 0 when there is none yet.
    pub version: u32,
}

/// All that `attach` runs in a database of which this was found.
pub(super) fn script(found: &Found) -> String {
    let mut script = String::new();
    for (place, (sql, works_since)) in MIGRATIONS.iter().enumerate().skip(found.version as usize) {
        let version = place + 1;
        script +=
            &format!("{sql}\n{ATTACHED}\n\nINSERT INTO excom_attached VALUES ({version}, {works_since});\n");
    }
    match script.is_empty() {
        true => script,
        false => format!("BEGIN IMMEDIATE;\n\n{script}\nCOMMIT;\n"),
    }
}

/// Refuses a schema of Airflow's that is not known.
pub(super) fn proven(connection: &Connection, path: &Path) -> Result<&'static str, Failure> {
    let revision: Option<String> =
        connection.prepare_cached(REVISION)?.query_row([], |row| row.get(0)).optional()?.flatten();
    let revision = revision.unwrap_or_default();
    match AIRFLOW.into_iter().find(|(known, _)| *known == revision) {
        Some((_, release)) => Ok(release),
        None => Err(unknown(&revision, path).into()),
    }
}

/// Looks at a database and changes nothing.
///
/// # Errors
/// `Configuration` when it is not Airflow's; `Incompatible` when Airflow's schema is not known, ours is newer than this
/// code can work with, or tables that have our names are not ours.
pub(super) fn look(connection: &Connection, path: &Path) -> Result<Found> {
    let refuse = |kind, what: String, hint: &str| Err(Error::new(kind, what).hint(hint.to_owned()));
    let at = path.display();
    let (airflow, attached, ours) = airflows(connection, path)?;
    if !attached {
        if ours > 0 {
            return refuse(
                ErrorKind::Incompatible,
                format!("{at} has tables `excom_…` of another program; they were not touched"),
                "drop or rename them",
            );
        }
        return Ok(Found { airflow, version: 0 });
    }
    let newest = connection
        .query_row(
            "SELECT version, works_since FROM excom_attached ORDER BY version DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional();
    let (version, works_since) = newest.map_err(|error| told(error, path))?.unwrap_or((0, 0));
    if works_since > VERSION {
        return refuse(
            ErrorKind::Incompatible,
            format!(
                "{at} has the attached schema {version}, which needs an Excom that knows schema {works_since}; this one \
                 knows {VERSION}; it was not touched"
            ),
            "use the newer Excom that attached it",
        );
    }
    Ok(Found { airflow, version })
}

/// Which Airflow has a database, whether ours is noted there, and how many tables have our names.
///
/// # Errors
/// As [`look`], but for what is ours.
pub(super) fn airflows(connection: &Connection, path: &Path) -> Result<(&'static str, bool, u32)> {
    let facts = connection.query_row(FACTS, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (airflows, attached, ours): (u32, bool, u32) = facts.map_err(|error| told(error, path))?;
    if airflows < 3 {
        let what = format!("{} is not the metadata database of an Airflow 3", path.display());
        return Err(Error::new(ErrorKind::Configuration, what)
            .hint("name the file of [database] sql_alchemy_conn; `airflow db migrate` makes one"));
    }
    let airflow = proven(connection, path).map_err(|failure| failure.into_error(path))?;
    Ok((airflow, attached, ours))
}

/// The refusal of a schema of Airflow's that was not proven.
fn unknown(revision: &str, path: &Path) -> Error {
    let ((_, first), (_, last)) = (AIRFLOW[0], AIRFLOW[AIRFLOW.len() - 1]);
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "{} has the schema `{revision}` of Airflow, which this Excom was not proven with: it knows those of Airflow \
             {first} to {last}; nothing was written",
            path.display()
        ),
    )
    .hint("while `airflow db migrate` is under way, wait for its end")
    .hint("otherwise use an Excom that knows this Airflow, or go on without: Airflow's tables are as it left them")
}

/// The refusal of a database in which our schema is not there yet, or is older.
pub(super) fn missing(found: &Found, path: &Path) -> Error {
    let what = match found.version {
        0 => "Excom is not attached to it yet: it has no tables `excom_…`".to_owned(),
        version => format!("it has the attached schema {version}, and this Excom needs {VERSION}"),
    };
    Error::new(
        ErrorKind::Configuration,
        format!("{} is a database of Airflow {}, and {what}", path.display(), found.airflow),
    )
    .hint("run `excom db attach` once; with `--dry-run` it prints what it would make")
    .hint("where nobody may have it: [database] extras = \"none\" goes on with Airflow's tables alone (docs/attached.md)")
}
