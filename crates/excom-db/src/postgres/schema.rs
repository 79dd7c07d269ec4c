//! The schema: numbered migrations, which whoever comes first makes, and who may work with which.

use excom_core::{Error, ErrorKind, Result};

use super::connection::{Connections, Statement};

/// A step from the schema before to the next.
struct Migration {
    sql: &'static str,
    /// The oldest schema whose programs go on working with this one: while a deployment is brought up to date, some are
    /// older than the schema.
    works_since: i32,
}

/// Each brings the schema from the version before to its own, counted from 1.
const MIGRATIONS: [Migration; 10] = [
    Migration { sql: include_str!("migrations/0001.sql"), works_since: 1 },
    Migration { sql: include_str!("migrations/0002.sql"), works_since: 2 },
    Migration { sql: include_str!("migrations/0003.sql"), works_since: 3 },
    Migration { sql: include_str!("migrations/0004.sql"), works_since: 4 },
    Migration { sql: include_str!("migrations/0005.sql"), works_since: 4 },
    Migration { sql: include_str!("migrations/0006.sql"), works_since: 4 },
    Migration { sql: include_str!("migrations/0007.sql"), works_since: 4 },
    Migration { sql: include_str!("migrations/0008.sql"), works_since: 4 },
    Migration { sql: include_str!("migrations/0009.sql"), works_since: 4 },
    Migration { sql: include_str!("migrations/0010.sql"), works_since: 4 },
];

/// The schema's version that this code reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// "XCom" in ASCII: the lock under which the schema is changed.
const LOCK: i64 = 0x5843_6f6d;

/// What follows each migration.
pub(super) const PLANS: &str = include_str!("plans.sql");

/// What is there: whether the schema is, whether it is ours or beside Airflow's tables (`attached`), and what the database must be like.
const FACTS: Statement<'_> = Statement {
    sql: "SELECT to_regnamespace('excom') IS NOT NULL, to_regclass('excom.migration') IS NOT NULL,
              current_setting('server_encoding'), current_setting('transaction_isolation'),
              current_setting('server_version_num')::int4, to_regclass('excom.attached') IS NOT NULL",
    types: &[],
};

/// The newest migration that was made.
const NEWEST: Statement<'_> = Statement {
    sql: "SELECT version, works_since FROM excom.migration ORDER BY version DESC LIMIT 1",
    types: &[],
};

/// What makes the migration to a version, which fails when it is there. The server takes several statements that come
/// together as one transaction.
fn step(version: usize, migration: &Migration) -> String {
    let Migration { sql, works_since } = migration;
    format!(
        "SELECT pg_advisory_xact_lock({LOCK});
         CREATE SCHEMA IF NOT EXISTS excom;
         CREATE TABLE IF NOT EXISTS excom.migration (
             version     int4 PRIMARY KEY,
             works_since int4 NOT NULL,
             made        timestamptz NOT NULL DEFAULT now());
         INSERT INTO excom.migration (version, works_since) VALUES ({version}, {works_since});
         {sql}
         {PLANS}"
    )
}

/// Brings a database to our schema; whichever process comes first does it, the others wait.
pub(super) async fn migrate(connections: &Connections) -> Result<u32> {
    loop {
        let found = version(connections).await?;
        let Some(migration) = MIGRATIONS.get(found as usize) else { return Ok(found) };
        match connections.script(&step(found as usize + 1, migration)).await {
            Ok(()) => {}
            // Another process was faster; what it made is looked at.
            Err(failure) if version(connections).await? > found => drop(failure),
            Err(failure) => return Err(failure.into_error(connections.place())),
        }
    }
}

/// The version of the schema in the database; 0 when there is none yet.
///
/// # Errors
/// `Incompatible` when it is another program's, or newer than this code can work with; `Configuration` when the
/// database is set up in a way that loses text or checks.
pub(super) async fn version(connections: &Connections) -> Result<u32> {
    let place = connections.place();
    let told = |failure: super::failure::Failure| failure.into_error(place);
    let facts = connections.read(&FACTS, &[]).await.map_err(told)?;
    let [facts] = &facts[..] else { return Ok(0) };
    let (schema, ours, encoding, isolation): (bool, bool, &str, &str) =
        (facts.get(0), facts.get(1), facts.get(2), facts.get(3));
    let unfit = |what: String, hint: &str| Err(Error::new(ErrorKind::Configuration, what).hint(hint));
    if facts.get::<_, i32>(4) < 140_000 {
        return unfit(
            format!("{place} is older than PostgreSQL 14"),
            "use a server that is still maintained",
        );
    }
    if encoding != "UTF8" {
        return unfit(
            format!("{place} has the encoding {encoding}, which cannot hold every name"),
            "create the database with `createdb --encoding UTF8 --template template0`",
        );
    }
    if isolation != "read committed" {
        return unfit(
            format!("{place} begins transactions as `{isolation}`, in which checks look at what is past"),
            "set default_transaction_isolation to `read committed` for the user or the database",
        );
    }
    if !ours {
        return match schema {
            false => Ok(0),
            true if facts.get(5) => Err(Error::new(
                ErrorKind::Incompatible,
                format!("the schema `excom` in {place} is that of an Excom attached to Airflow; it was not touched"),
            )
            .hint("set [database] mode = \"attached\" to work with Airflow's XComs")
            .hint("name another database in [database] url for Excom's own")),
            true => Err(Error::new(
                ErrorKind::Incompatible,
                format!("the schema `excom` in {place} is another program's; it was not touched"),
            )
            .hint("name another database in [database] url")),
        };
    }
    let newest = connections.read(&NEWEST, &[]).await.map_err(told)?;
    let Some(newest) = newest.first() else { return Ok(0) };
    let (version, works_since) = (newest.get::<_, i32>(0), newest.get::<_, i32>(1));
    if works_since > VERSION as i32 {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "{place} has schema {version}, which needs an Excom that knows schema {works_since}; this one knows \
                 {VERSION}; it was not touched"
            ),
        )
        .hint("use the newer Excom that migrated it, or name another database in [database] url"));
    }
    Ok(version as u32)
}
