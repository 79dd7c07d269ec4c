//! An XCom backend of one's own: small values stay in the metadata database, the others go to a second SQLite file
//! that other programs read too.
//!
//! Run it with `cargo run --example custom_backend`. Home, keys, settings and commands are those of any program; the
//! engine seals what the backend keeps, verifies what it gives back, and tells it when a value is to go.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use excom::config::Settings;
use excom::core::EntryInfo;
use excom::core::backend::{Object, collect};
use excom::prelude::*;
use excom::program::Program;
use excom::{Engine, Error, ErrorKind, Payload, Result, TaskInstanceKey, Value, XComBackend};
use rusqlite::{Connection, OptionalExtension as _, params};

/// The store's id. References keep it, so it stays the same as long as there are values.
const STORE: &str = "tables";

/// Nothing larger is kept: a row is whole in memory.
const LARGEST: u64 = 100 << 20;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS xcom (
        name    TEXT PRIMARY KEY,         -- one version of one XCom
        task    TEXT NOT NULL,            -- its task instance
        current INTEGER NOT NULL DEFAULT 1, -- whether the task instance was not cleared since
        value   TEXT NOT NULL
    )";

#[derive(Debug)]
struct Tables {
    file: Mutex<Connection>,
    threshold: u64,
}

impl Tables {
    fn open(file: &Path, threshold: u64) -> Result<Self> {
        let connection = Connection::open(file).map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Self { file: Mutex::new(connection), threshold })
    }

    fn file(&self) -> MutexGuard<'_, Connection> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tables(values over {} bytes)", self.threshold)
    }
}

#[async_trait]
impl XComBackend for Tables {
    fn name(&self) -> &'static str {
        "tables"
    }

    fn store(&self) -> Option<&str> {
        Some(STORE)
    }

    fn inline_limit(&self) -> u64 {
        self.threshold
    }

    fn codec(&self) -> &'static str {
        "text"
    }

    // The name has the XCom key and the version in it, so nothing is ever overwritten.
    async fn serialize_value(&self, object: &Object<'_>, value: Payload) -> Result<String> {
        let value = collect(value, LARGEST).await?;
        let insert = "INSERT INTO xcom (name, task, value) VALUES (?, ?, ?)";
        self.file()
            .execute(insert, params![object.name().as_str(), text(&object.key.ti), value.as_str()])
            .map_err(failed)?;
        Ok(self.codec().to_owned())
    }

    async fn deserialize_value(&self, object: &Object<'_>) -> Result<Payload> {
        mine(object)?;
        let name = object.name();
        let found: Option<String> = self
            .file()
            .query_row("SELECT value FROM xcom WHERE name = ?", [name.as_str()], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        let lost = || Error::new(ErrorKind::Lost, format!("{name} is gone from the table"));
        Ok(Value::parse(found.ok_or_else(lost)?)?.into())
    }

    // What lists and pages show: made of what the entry knows, without a look into the file.
    fn orm_deserialize_value(&self, entry: &EntryInfo) -> String {
        if entry.offloaded {
            format!("{} in a table, {} bytes", entry.shape, entry.size)
        } else {
            entry.preview.clone()
        }
    }

    // The history still has the values of a task instance that was cleared; other readers are to pass over them.
    async fn clear(&self, ti: &TaskInstanceKey) -> Result<()> {
        self.file().execute("UPDATE xcom SET current = 0 WHERE task = ?", [text(ti)]).map_err(failed)?;
        Ok(())
    }

    // Nothing refers to the value any more. That it is gone already is fine.
    async fn purge(&self, object: &Object<'_>) -> Result<()> {
        mine(object)?;
        self.file().execute("DELETE FROM xcom WHERE name = ?", [object.name().as_str()]).map_err(failed)?;
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        self.file().query_row("SELECT count(*) FROM xcom", [], |_| Ok(())).map_err(failed)
    }
}

/// A task instance as one text, whatever characters its parts have.
fn text(ti: &TaskInstanceKey) -> String {
    format!("{:?}", (&ti.dag_id, &ti.run_id, &ti.task_id, ti.map_index))
}

fn mine(object: &Object<'_>) -> Result<()> {
    if object.store == STORE {
        return Ok(());
    }
    let message = format!("{} is in the store `{}`, which is not configured", object.key, object.store);
    Err(Error::new(ErrorKind::Configuration, message))
}

/// The kind says what the engine makes of it: what is there already is no failure of a push that is repeated, and what
/// is unavailable can be tried again.
fn failed(cause: rusqlite::Error) -> Error {
    let kind = match cause.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => ErrorKind::Exists,
        Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::Full,
        Some(rusqlite::ErrorCode::ReadOnly) => ErrorKind::ReadOnly,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "the table of values cannot be used").because(cause)
}

#[task]
fn measure() -> Vec<f64> {
    (0..100_000).map(|minute| f64::from(minute % 1440) / 100.0).collect()
}

#[task]
fn highest(celsius: Vec<f64>) -> f64 {
    celsius.into_iter().fold(f64::MIN, f64::max)
}

#[dag]
fn custom_backend(dag: &Dag) {
    highest(dag, measure(dag));
}

/// The engine that the settings opened, with the backend of this program.
fn with_tables(engine: Engine, settings: &Settings) -> Result<Engine> {
    let tables = Tables::open(&settings.core.home.join("tables.db"), settings.xcom.inline_limit.0)?;
    Ok(engine.with_backend(Arc::new(tables)))
}

fn main() -> ExitCode {
    Program::new(custom_backend()).show("highest").engine(with_tables).main()
}

#[cfg(test)]
mod tests {
    use excom::core::conformance::Empty;
    use excom::core::db::{Filter, Scope};
    use excom::{Caller, PullOptions, embedded};

    use super::*;

    /// The suite that every backend passes.
    #[test]
    fn tables_are_a_backend() {
        let folder = tempfile::tempdir().unwrap();
        let tables: Arc<dyn XComBackend> =
            Arc::new(Tables::open(&folder.path().join("tables.db"), 100).unwrap());
        excom::core::conformance::backend(&tables);
    }

    /// What the engine does with values on them and the database of a program, with every value in a table.
    #[test]
    fn tables_and_sqlite_are_a_combination() {
        excom::core::conformance::combination(|_| {
            let folder = tempfile::tempdir().unwrap();
            let db = embedded::open(&Settings::at(folder.path())).unwrap().db().clone();
            let tables = Tables::open(&folder.path().join("tables.db"), 0).unwrap();
            (Empty { db, keep: Box::new(folder) }, Arc::new(tables))
        });
    }

    #[test]
    fn a_program_keeps_its_values_there() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::at(folder.path());
        let open = || with_tables(embedded::open(&settings).unwrap(), &settings).unwrap();
        let (ana, ti) = (Caller::user("ana"), TaskInstanceKey::new("d", "r", "t", -1).unwrap());
        let (small, large) = (ti.xcom("small").unwrap(), ti.xcom("large").unwrap());
        let value = Value::of(&vec![1.5; 50_000]).unwrap();
        let rows = |what: &str| -> i64 {
            let file = Connection::open(folder.path().join("tables.db")).unwrap();
            file.query_row(&format!("SELECT {what} FROM xcom"), [], |row| row.get(0)).unwrap()
        };
        pollster::block_on(async {
            let engine = open();
            engine.push(&ana, &small, Value::of(&1).unwrap().into()).await.unwrap();
            engine.push(&ana, &large, value.clone().into()).await.unwrap();
            engine.close().await.unwrap();

            let engine = open();
            let answers =
                engine.pull(&ana, std::slice::from_ref(&large), PullOptions::default()).await.unwrap();
            assert_eq!(answers[0].found().unwrap().value, value);
            assert_eq!(rows("count(*)"), 1, "the small one is in the metadata database");
            let page = engine.list(&ana, &Filter::default(), None, 10).await.unwrap();
            assert_eq!(page.items[0].preview, "list[50000] in a table, 200001 bytes");
            assert_eq!(page.items[1].preview, "1");

            engine.clear(&ana, &Scope::TaskInstance(ti.clone())).await.unwrap();
            assert_eq!((rows("count(*)"), rows("sum(current)")), (1, 0), "the history still has it");
            engine.delete(&ana, &Scope::TaskInstance(ti.clone())).await.unwrap();
            assert_eq!(rows("count(*)"), 0);
        });
    }
}
