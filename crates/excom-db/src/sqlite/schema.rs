//! The schema: numbered migrations, and the refusal of files that are not ours or newer than we are.

use std::path::Path;

use excom_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, TransactionBehavior};

use super::failure::told;

/// "XCom" in ASCII, which SQLite keeps in the file's header.
const APPLICATION_ID: i32 = 0x5843_6f6d;

/// Each brings the schema from the version before to its own, counted from 1.
pub(super) const MIGRATIONS: [&str; 8] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
];

/// The schema's version that this code reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Brings a database to our schema; whichever process comes first does it, the others wait.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    if version(connection, path)? == VERSION {
        return Ok(());
    }
    let migrated = (|| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for migration in MIGRATIONS.iter().skip(from as usize) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()
    })();
    migrated.map_err(|e| told(e, path))
}

/// The version of the schema in the file; 0 for an empty one.
///
/// # Errors
/// `Incompatible` when it is another program's, or newer than this code.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<u32> {
    let facts = (|| {
        // One view of the file: another process may be making the schema between two statements.
        let _view = connection.unchecked_transaction()?;
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok::<_, rusqlite::Error>((application, version, tables))
    })();
    let (application, version, tables) = facts.map_err(|e| told(e, path))?;
    let at = path.display();
    if application != APPLICATION_ID && (tables > 0 || version > 0) {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!("{at} is an SQLite database of another program; it was not touched"),
        )
        .hint("choose another folder with EXCOM_HOME or --home"));
    }
    if version > VERSION {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "{at} has schema {version}, this Excom knows schemas up to {VERSION}; it was not touched"
            ),
        )
        .hint("use the newer Excom that wrote it, or choose another folder with EXCOM_HOME or --home"));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_older_schema_is_brought_up_to_date_with_what_it_holds() {
        for from in 1..MIGRATIONS.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            for migration in &MIGRATIONS[..from] {
                connection.execute_batch(migration).unwrap();
            }
            connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            connection.pragma_update(None, "user_version", from as u32).unwrap();
            // The fifth renamed them all.
            let ours = if from < 5 { "" } else { "excom_" };
            connection.execute(&format!("INSERT INTO {ours}mark VALUES ('name', 'kept')"), []).unwrap();
            // The sixth made them notes.
            let rendered = match from {
                ..6 => format!("{ours}rendered VALUES (1, 2, -1, 3, '[[\"sql\",1]]')"),
                _ => "excom_note (run, task, map_index, number, name, value)
                      VALUES (1, 2, -1, 3, 'rendered', '[[\"sql\",1]]')"
                    .to_owned(),
            };
            connection.execute(&format!("INSERT INTO {rendered}"), []).unwrap();
            let path = Path::new("memory");
            migrate(&mut connection, path).unwrap();
            assert_eq!(version(&connection, path).unwrap(), VERSION);
            let kept: String =
                connection.query_row("SELECT value FROM excom_mark", [], |row| row.get(0)).unwrap();
            assert_eq!(kept, "kept");
            let refusals: u32 =
                connection.query_row("SELECT count(*) FROM excom_refusal", [], |row| row.get(0)).unwrap();
            assert_eq!(refusals, 0);
            let note = "SELECT name || number || value FROM excom_note WHERE run = 1 AND task = 2 AND map_index = -1";
            let note: String = connection.query_row(note, [], |row| row.get(0)).unwrap();
            assert_eq!(note, "rendered3[[\"sql\",1]]");
        }
    }
}
