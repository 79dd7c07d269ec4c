//! Files that Airflow made, each a copy of one.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use excom_db::sqlite::Options;
use excom_db::sqlite::attached::{Bare, Db};
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;
use rusqlite::types::Value;
use rusqlite::{Connection, Row};
use tempfile::TempDir;

/// A file as `airflow db migrate` leaves it, or why there is none. Others are copies of it.
static TEMPLATE: LazyLock<Result<Vec<u8>, String>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("airflow.db");
    migrated(&file, None)?;
    std::fs::read(&file).map_err(|error| error.to_string())
});

/// Has Airflow make its schema, the newest one or that of a release.
pub(crate) fn migrated(file: &Path, release: Option<&str>) -> Result<(), String> {
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut arguments = vec!["db", "migrate"];
    arguments.extend(release.iter().flat_map(|release| ["--to-version", release]));
    Python::with_airflow()?.on_sqlite(file).airflow(home.path(), &arguments)
}

/// A file that Airflow made, which no other test uses.
pub(crate) struct Database {
    folder: TempDir,
}

impl Database {
    /// One with Excom attached to it; none, and a line that counts the test as skipped, where there is no Airflow.
    pub(crate) fn attached() -> Option<Self> {
        let database = Self::made()?;
        Db::attach(&database.file()).unwrap();
        Some(database)
    }

    /// One as Airflow made it.
    pub(crate) fn made() -> Option<Self> {
        let database = Self::empty()?;
        std::fs::write(database.file(), TEMPLATE.as_ref().unwrap()).unwrap();
        Some(database)
    }

    /// A place for one; none where there is no Airflow.
    pub(crate) fn empty() -> Option<Self> {
        let test = std::thread::current().name().unwrap_or("attached").to_owned();
        TEMPLATE.as_ref().inspect_err(|why| skipped(&test, why)).ok()?;
        Some(Self { folder: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("airflow.db")
    }

    pub(crate) fn attach(&self) {
        Db::attach(&self.file()).unwrap();
    }

    /// What leads Airflow to it.
    pub(crate) fn airflows(&self) -> PathBuf {
        self.file()
    }

    /// Works with Airflow's tables alone.
    pub(crate) fn bare(&self) -> Bare {
        Bare::open(&self.file(), Options::default()).unwrap()
    }

    /// How many tables of ours there are.
    pub(crate) fn ours(&self) -> String {
        self.sql("SELECT count(*) FROM sqlite_schema WHERE name GLOB 'excom_*'")
    }

    /// A variable as Excom kept it itself, with a description.
    pub(crate) fn kept(&self, key: &str, text: &str) {
        self.sql(&format!("INSERT INTO excom_variable VALUES ('{key}', '{text}', 'ours', 1770000000000);"));
    }

    /// How many there are of those.
    pub(crate) fn still_kept(&self) -> String {
        self.sql("SELECT count(*) FROM excom_variable")
    }

    /// How many earlier versions there are.
    pub(crate) fn history(&self) -> String {
        self.sql("SELECT count(*) FROM excom_history")
    }

    /// The lengths that Airflow's scheduler is told, each with its task and the keys of a dict.
    pub(crate) fn lengths(&self) -> String {
        let sql = "SELECT concat(task_id, ' ', length, ' ', keys) FROM task_map ORDER BY task_id";
        self.sql(sql).lines().collect::<Vec<_>>().join(", ")
    }

    /// How many rows of Airflow's, and how many objects without one, Excom has noted.
    pub(crate) fn noted(&self) -> String {
        self.sql("SELECT (SELECT count(*) FROM excom_entry) + (SELECT count(*) FROM excom_loose_object)")
    }

    /// One writes at a time, so there is none.
    pub(crate) fn deadlocks(&self) -> String {
        "0".to_owned()
    }

    /// Runs statements, and tells what one that is alone finds: rows as lines, columns with bars between.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let connection = Connection::open(self.file()).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        if sql.contains(';') {
            connection.execute_batch(sql).unwrap();
            return String::new();
        }
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let text = |row: &Row<'_>, at| match row.get(at).unwrap() {
            Value::Null => String::new(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text,
            Value::Blob(bytes) => format!("{bytes:?}"),
        };
        let line = |row: &Row<'_>| Ok((0..columns).map(|at| text(row, at)).collect::<Vec<_>>().join("|"));
        let lines = statement.query_map([], line).unwrap().collect::<rusqlite::Result<Vec<_>>>();
        lines.unwrap().join("\n")
    }

    pub(crate) fn open(&self) -> Db {
        Db::open(&self.file(), Options::default()).unwrap()
    }

    /// The real Airflow of this file.
    pub(crate) fn python(&self) -> Python {
        Python::with_airflow().unwrap().on_sqlite(&self.file())
    }
}
