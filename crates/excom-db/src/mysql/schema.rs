//! The schema: numbered migrations, which whoever comes first makes, and who may work with which.

use excom_core::{Error, ErrorKind, Result};

use super::connection::{Connection, Connections, named};
use super::failure::{Failure, damaged};
use super::row;

/// A step from the schema before to the next. It is not one transaction, because MySQL ends one with each table that
/// it makes: so each statement may be run again, and the step is noted behind them.
struct Migration {
    sql: &'static str,
    /// The oldest schema whose programs go on working with this one: while a deployment is brought up to date, some are
    /// older than the schema.
    works_since: i32,
}

/// Each brings the schema from the version before to its own, counted from 1.
const MIGRATIONS: [Migration; 4] = [
    Migration { sql: include_str!("migrations/0001.sql"), works_since: 1 },
    Migration { sql: include_str!("migrations/0002.sql"), works_since: 2 },
    Migration { sql: include_str!("migrations/0003.sql"), works_since: 2 },
    Migration { sql: include_str!("migrations/0004.sql"), works_since: 2 },
];

/// The schema's version that this code reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// The lock under which the schema is changed; its name is the server's, so it tells the database.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('excom/', SHA1(DATABASE())), 20)";

const UNLOCK: &str = "SELECT RELEASE_LOCK(CONCAT('excom/', SHA1(DATABASE())))";

/// What migrations were made.
const MIGRATION: &str = "CREATE TABLE IF NOT EXISTS excom_migration (
    version     INT NOT NULL PRIMARY KEY,
    works_since INT NOT NULL,
    made        TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC";

const NOTE: &str = "INSERT INTO excom_migration (version, works_since) VALUES (:version, :works_since)";

/// What is there: how many tables of ours, whether ours it is, and which server.
const FACTS: &str = "SELECT COUNT(*), COALESCE(SUM(table_name = 'excom_migration'), 0) > 0, VERSION()
    FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'excom\\_%'";

/// The newest migration that was made.
const NEWEST: &str = "SELECT version, works_since FROM excom_migration ORDER BY version DESC LIMIT 1";

/// The oldest servers: the first number is MySQL's, the second MariaDB's.
const OLDEST: [(u64, u64); 2] = [(8, 0), (10, 11)];

/// Brings a database to our schema; whichever process comes first does it, the others wait.
pub(super) async fn migrate(connections: &Connections) -> Result<u32> {
    let found = version(connections).await?;
    if found >= VERSION {
        return Ok(found);
    }
    let made = connections.alone(|mut connection: Connection| async move {
        let made = step(&mut connection).await;
        (connection, made)
    });
    made.await.map_err(|failure| failure.into_error(connections.place()))?;
    version(connections).await
}

/// Makes the migrations that are missing, under the lock.
async fn step(connection: &mut Connection) -> Result<(), Failure> {
    let locked = connection.one(LOCK, named! {}).await?;
    if locked.map(|locked| row::optional(&locked, 0)).transpose()?.flatten() != Some(1) {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "another process has been changing the schema for too long; nothing was changed",
        )
        .hint("try again; `excom db check` tells when it is done")
        .into());
    }
    let made = missing(connection).await;
    connection.rows(UNLOCK, named! {}).await?;
    made
}

async fn missing(connection: &mut Connection) -> Result<(), Failure> {
    connection.script(MIGRATION).await?;
    let newest = connection.one(NEWEST, named! {}).await?;
    let made = newest.map(|newest| row::unsigned(&newest, 0)).transpose()?.unwrap_or(0);
    for (version, migration) in (1..).zip(&MIGRATIONS).skip(made as usize) {
        let Migration { sql, works_since } = migration;
        connection.script(sql).await?;
        connection.change(NOTE, named! { "version" => version, "works_since" => works_since }).await?;
    }
    Ok(())
}

/// The version of the schema in the database; 0 when there is none yet.
///
/// # Errors
/// `Incompatible` when it is another program's, or newer than this code can work with; `Configuration` when the server
/// is too old.
pub(super) async fn version(connections: &Connections) -> Result<u32> {
    let place = connections.place();
    let told = |failure: Failure| failure.into_error(place);
    let facts = connections.read(FACTS, named! {}).await.map_err(told)?;
    let [facts] = &facts[..] else { return Ok(0) };
    let tables = row::int(facts, 0).map_err(told)?;
    let ours = row::is(facts, 1).map_err(told)?;
    let server = row::str(facts, 2).map_err(told)?;
    if is_old(server) {
        return Err(Error::new(
            ErrorKind::Configuration,
            format!("the server of {place} is `{server}`, older than MySQL 8 and MariaDB 10.11"),
        )
        .hint("use a server that is still maintained"));
    }
    if !ours {
        return match tables {
            0 => Ok(0),
            _ => Err(Error::new(
                ErrorKind::Incompatible,
                format!("{place} has tables `excom_…` of another program; they were not touched"),
            )
            .hint("name another database in [database] url")),
        };
    }
    let newest = connections.read(NEWEST, named! {}).await.map_err(told)?;
    let Some(newest) = newest.first() else { return Ok(0) };
    let (version, works_since) = (row::int(newest, 0).map_err(told)?, row::int(newest, 1).map_err(told)?);
    if works_since > i64::from(VERSION) {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "{place} has schema {version}, which needs an Excom that knows schema {works_since}; this one knows \
                 {VERSION}; it was not touched"
            ),
        )
        .hint("use the newer Excom that migrated it, or name another database in [database] url"));
    }
    u32::try_from(version).map_err(|_| told(damaged("a negative schema")))
}

/// Whether a server, by its own words, is older than what is relied on.
fn is_old(server: &str) -> bool {
    // A MariaDB may put the version before its own that old clients look for.
    let server = server.strip_prefix("5.5.5-").unwrap_or(server);
    let mut numbers = server.split(['.', '-']).map(|part| part.parse::<u64>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version < OLDEST[usize::from(server.contains("MariaDB"))]
}

#[cfg(test)]
mod tests {
    use super::is_old;

    #[test]
    fn servers_tell_their_age() {
        for server in
            ["8.0.36", "8.4.0-commercial", "9.1.0", "10.11.6-MariaDB-0+deb12u1", "5.5.5-11.4.2-MariaDB"]
        {
            assert!(!is_old(server), "{server}");
        }
        for server in ["5.7.44-log", "10.6.18-MariaDB", "5.5.5-10.5.1-MariaDB", "nonsense"] {
            assert!(is_old(server), "{server}");
        }
    }
}
