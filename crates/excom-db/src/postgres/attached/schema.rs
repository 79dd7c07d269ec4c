//! Whose database it is: which schema of Airflow's is there, and what of ours is beside it.

use excom_core::{Error, ErrorKind, Result};

use super::super::connection::{Connections, Statement};
use super::super::failure::Failure;
use super::super::known::MAKE_NAME;
use super::super::schema::PLANS;

/// Schemas of Airflow's that were proven, by what `alembic_version` says, and the first release that has each.
const AIRFLOW: [(&str, &str); 6] = [
    ("29ce7909c52b", "3.0.0"),
    ("fe199e1abd77", "3.0.3"),
    ("cc92b33c6709", "3.1.0"),
    ("509b94a1042d", "3.1.8"),
    ("1d6611b6ab7c", "3.2.0"),
    ("d2f4e1b3c5a7", "3.3.0"),
];

/// The first of them in which rows can be marked as what a DAG returns.
const RESULTS_SINCE: &str = "d2f4e1b3c5a7";

/// Each brings our schema from the version before to its own, counted from 1, with the oldest version whose programs go
/// on working with it.
const MIGRATIONS: [(&str, i32); 6] = [
    (include_str!("schema/0001.sql"), 1),
    (include_str!("schema/0002.sql"), 1),
    (include_str!("schema/0003.sql"), 1),
    (include_str!("schema/0004.sql"), 4),
    (include_str!("schema/0005.sql"), 4),
    (include_str!("schema/0006.sql"), 4),
];

/// The version of our schema that this code reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// "XCom" in ASCII: the lock under which the schema is changed.
const LOCK: i64 = 0x5843_6f6d;

/// What is there of Airflow's.
const AIRFLOWS: Statement<'_> = Statement {
    sql: "SELECT to_regclass('alembic_version') IS NOT NULL AND to_regclass('xcom') IS NOT NULL
                 AND to_regclass('task_instance_history') IS NOT NULL, current_setting('transaction_isolation')",
    types: &[],
};

/// What is there of ours.
const OURS: Statement<'_> = Statement {
    sql:
        "SELECT to_regclass('excom.migration') IS NOT NULL, to_regnamespace('excom') IS NOT NULL,
              to_regclass('excom.attached') IS NOT NULL, has_database_privilege(current_database(), 'CREATE')",
    types: &[],
};

/// Airflow's schema.
const REVISION: Statement<'_> =
    Statement { sql: "SELECT max(version_num)::text FROM alembic_version", types: &[] };

/// Ours: the newest migration that was made.
const NEWEST: Statement<'_> = Statement {
    sql: "SELECT version, works_since FROM excom.attached ORDER BY version DESC LIMIT 1",
    types: &[],
};

/// What is found in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The first release of Airflow that has its schema.
    pub airflow: &'static str,
    /// The version of our schema beside it; 0 when there is none yet.
    pub version: u32,
    /// Whether the user may make it.
    pub may_create: bool,
}

/// The statements that make our schema beside Airflow's, from a version on; nothing when it is there.
pub(super) fn ddl(from: u32) -> String {
    let mut script = String::new();
    for (place, (sql, works_since)) in MIGRATIONS.iter().enumerate().skip(from as usize) {
        let version = place + 1;
        script += &format!(
            "SELECT pg_advisory_xact_lock({LOCK});\n\
             CREATE SCHEMA IF NOT EXISTS excom;\n\
             CREATE TABLE IF NOT EXISTS excom.attached (\n    \
                 version     int4 PRIMARY KEY,\n    \
                 works_since int4 NOT NULL,\n    \
                 made        timestamptz NOT NULL DEFAULT now());\n\
             INSERT INTO excom.attached (version, works_since) VALUES ({version}, {works_since});\n\n{sql}\n"
        );
    }
    if !script.is_empty() {
        script += PLANS;
    }
    script
}

/// The statement that makes the schemas of Airflow's known that this code was proven with.
fn known() -> String {
    let rows: Vec<String> =
        AIRFLOW.iter().map(|(revision, airflow)| format!("('{revision}', '{airflow}')")).collect();
    format!(
        "INSERT INTO excom.airflow_schema (revision, airflow) VALUES {} ON CONFLICT DO NOTHING;\n",
        rows.join(", ")
    )
}

/// All that `attach` runs in a database of which this was found.
pub(super) fn script(found: &Found) -> String {
    ddl(found.version) + &known() + MAKE_NAME.sql + ";\n"
}

/// A failure as its error; where what lies beside Airflow's tables is missing or older, with what makes it.
pub(in super::super) fn told(failure: Failure, place: &str) -> Error {
    failure
        .told(place, "run `excom db check`; `excom db attach` makes what is missing beside Airflow's tables")
}

/// The schemas of Airflow's that writes were proven with.
pub(super) fn revisions() -> Vec<&'static str> {
    AIRFLOW.into_iter().map(|(revision, _)| revision).collect()
}

/// Of these, those in which rows can be marked as what a DAG returns, or those in which they cannot.
pub(super) fn revisions_with_results(has_results: bool) -> Vec<&'static str> {
    let known = revisions();
    let since = known.iter().position(|known| *known == RESULTS_SINCE).unwrap_or(known.len());
    let (without, with) = known.split_at(since);
    if has_results { with.to_vec() } else { without.to_vec() }
}

fn refuse<T>(kind: ErrorKind, what: String, hint: &str) -> Result<T> {
    Err(Error::new(kind, what).hint(hint))
}

/// The first release that has the schema of Airflow's in a database.
///
/// # Errors
/// `Configuration` when it is not Airflow's, or begins transactions in a way that checks look at what is past;
/// `Incompatible` when Airflow's schema is not known.
pub(super) async fn airflow(connections: &Connections) -> Result<&'static str> {
    let place = connections.place();
    let told = |failure| told(failure, place);
    let facts = connections.read(&AIRFLOWS, &[]).await.map_err(told)?;
    let facts = &facts[0];
    if !facts.get::<_, bool>(0) {
        return refuse(
            ErrorKind::Configuration,
            format!("{place} is not the metadata database of an Airflow 3"),
            "name the database of [database] sql_alchemy_conn; where its tables are in a schema of their own, add \
             `?options=-c%20search_path%3DSCHEMA` to the URL",
        );
    }
    if facts.get::<_, &str>(1) != "read committed" {
        return refuse(
            ErrorKind::Configuration,
            format!(
                "{place} begins transactions as `{}`, in which checks look at what is past",
                facts.get::<_, &str>(1)
            ),
            "set default_transaction_isolation to `read committed` for the user",
        );
    }
    let revision = connections.read(&REVISION, &[]).await.map_err(told)?;
    let revision: Option<String> = revision.first().and_then(|row| row.get(0));
    let revision = revision.unwrap_or_default();
    let known = AIRFLOW.into_iter().find(|(known, _)| *known == revision);
    known.map(|(_, airflow)| airflow).ok_or_else(|| unknown(&revision, place))
}

/// Looks at a database and changes nothing.
///
/// # Errors
/// As [`airflow`]; `Incompatible` when our schema is newer than this code can work with, or that of a database of
/// Excom's own.
pub(super) async fn look(connections: &Connections) -> Result<Found> {
    let place = connections.place();
    let told = |failure| told(failure, place);
    let airflow = airflow(connections).await?;
    let facts = connections.read(&OURS, &[]).await.map_err(told)?;
    let facts = &facts[0];
    if facts.get(0) {
        return refuse(
            ErrorKind::Incompatible,
            format!("the schema `excom` in {place} is that of a database of Excom's own; it was not touched"),
            "leave [database] mode out to work with that; to attach, it has to be in another database",
        );
    }
    let mut found = Found { airflow, version: 0, may_create: facts.get(3) };
    if !facts.get::<_, bool>(2) {
        return match facts.get(1) {
            false => Ok(found),
            true => refuse(
                ErrorKind::Incompatible,
                format!("the schema `excom` in {place} is another program's; it was not touched"),
                "rename that schema, or use Airflow without an attached Excom",
            ),
        };
    }
    let newest = connections.read(&NEWEST, &[]).await.map_err(told)?;
    let Some(newest) = newest.first() else { return Ok(found) };
    let (version, works_since) = (newest.get::<_, i32>(0), newest.get::<_, i32>(1));
    if works_since > VERSION as i32 {
        return refuse(
            ErrorKind::Incompatible,
            format!(
                "{place} has the attached schema {version}, which needs an Excom that knows schema {works_since}; this \
                 one knows {VERSION}; it was not touched"
            ),
            "use the newer Excom that attached it",
        );
    }
    found.version = version as u32;
    Ok(found)
}

/// The refusal of a schema of Airflow's that was not proven.
pub(super) fn unknown(revision: &str, place: &str) -> Error {
    let [first, .., last] = AIRFLOW;
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "{place} has the schema `{revision}` of Airflow, which this Excom was not proven with: it knows those of \
             Airflow {} to {}; nothing was written",
            first.1, last.1
        ),
    )
    .hint("while `airflow db migrate` is under way, wait for its end")
    .hint("otherwise use an Excom that knows this Airflow, or go on without: Airflow's tables are as it left them")
}

/// The refusal of a database in which our schema is not there yet, or is older.
pub(super) fn missing(found: &Found, place: &str) -> Error {
    let what = match found.version {
        0 => "Excom is not attached to it yet: there is no schema `excom`".to_owned(),
        version => format!("it has the attached schema {version}, and this Excom needs {VERSION}"),
    };
    Error::new(
        ErrorKind::Configuration,
        format!("{place} is a database of Airflow {}, and {what}", found.airflow),
    )
    .hint("run `excom db attach` once, as a user who may create schemas; with `--dry-run` it prints what it would make")
    .hint("where nobody may have it: [database] extras = \"none\" goes on with Airflow's tables alone (docs/attached.md)")
}
