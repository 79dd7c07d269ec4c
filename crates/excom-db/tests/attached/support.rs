//! Databases that Airflow made, on a server that all tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use excom_db::postgres::Options;
use excom_db::postgres::attached::{Bare, Db};
use excom_testkit::postgres::Postgres;
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;

/// The server of all tests. It ends with the process.
static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres::start().unwrap());

/// A database as `airflow db migrate` leaves it, or why there is none. Others are copies of it.
static TEMPLATE: LazyLock<Result<(), String>> = LazyLock::new(|| {
    Postgres::available()?;
    SERVER.sql("postgres", "CREATE DATABASE airflow").map_err(|error| error.to_string())?;
    migrated("airflow", None)
});

/// Databases that tests are done with: to make one takes longer than to empty one.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Has Airflow make its schema, the newest one or that of a release.
pub(crate) fn migrated(database: &str, release: Option<&str>) -> Result<(), String> {
    migrated_on(&SERVER, database, release)
}

/// The same on another server.
pub(crate) fn migrated_on(server: &Postgres, database: &str, release: Option<&str>) -> Result<(), String> {
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut arguments = vec!["db", "migrate"];
    arguments.extend(release.iter().flat_map(|release| ["--to-version", release]));
    Python::with_airflow()?.on_postgres(&server.url(database))?.airflow(home.path(), &arguments)
}

/// A database that Airflow made, which no other test uses meanwhile.
pub(crate) struct Database {
    pub(crate) name: String,
    reused: bool,
}

impl Database {
    /// One with Excom attached to it; none, and a line that counts the test as skipped, where there is no Airflow.
    pub(crate) fn attached() -> Option<Self> {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(name) = free {
            let database = Self { name, reused: true };
            let ours = database.sql(
                "SELECT string_agg('excom.' || relname, ', ') FROM pg_class WHERE relkind = 'r'
                 AND relnamespace = 'excom'::regnamespace AND relname NOT IN ('attached', 'airflow_schema')",
            );
            database.sql(&format!("TRUNCATE dag, dag_run, task_instance, variable, {ours} CASCADE"));
            return Some(database);
        }
        let mut database = Self::made()?;
        database.reused = true;
        database.attach();
        Some(database)
    }

    pub(crate) fn attach(&self) {
        pollster::block_on(Db::attach(&self.url(), &Options::default())).unwrap();
    }

    /// One as Airflow made it.
    pub(crate) fn made() -> Option<Self> {
        let test = std::thread::current().name().unwrap_or("attached").to_owned();
        TEMPLATE.as_ref().inspect_err(|why| skipped(&test, why)).ok()?;
        Some(Self::copy("TEMPLATE airflow"))
    }

    /// One with nothing in it; none where there is no Airflow.
    pub(crate) fn empty() -> Option<Self> {
        let test = std::thread::current().name().unwrap_or("attached").to_owned();
        TEMPLATE.as_ref().inspect_err(|why| skipped(&test, why)).ok()?;
        Some(Self::copy(""))
    }

    fn copy(template: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        SERVER.sql("postgres", &format!("CREATE DATABASE {name} {template}")).unwrap();
        Self { name, reused: false }
    }

    pub(crate) fn url(&self) -> String {
        SERVER.url(&self.name)
    }

    /// The URL for Airflow.
    pub(crate) fn airflows(&self) -> String {
        self.url()
    }

    /// Works with Airflow's tables alone, as a user who has the rights that docs/attached.md lists and no others.
    pub(crate) fn bare(&self) -> Bare {
        self.sql(
            "DO $$ BEGIN CREATE ROLE bare LOGIN PASSWORD 'weak'; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$",
        );
        // Two grants on a table at once are an error of PostgreSQL's ("tuple concurrently updated"), so they are made one by one.
        self.sql(
            "SELECT pg_advisory_xact_lock(1);
             GRANT SELECT ON alembic_version, dag_run, task_instance, task_instance_history TO bare;
             GRANT UPDATE ON task_instance TO bare;
             GRANT SELECT, INSERT, UPDATE, DELETE ON xcom, task_map, variable TO bare;
             GRANT USAGE ON SEQUENCE variable_id_seq TO bare",
        );
        let url = self.url();
        let url = format!("postgresql://bare:weak{}", &url[url.rfind('@').unwrap()..]);
        pollster::block_on(Bare::open(&url, &options())).unwrap()
    }

    /// How many schemas of ours there are.
    pub(crate) fn ours(&self) -> String {
        self.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'excom'")
    }

    /// A variable as Excom kept it itself, with a description.
    pub(crate) fn kept(&self, key: &str, text: &str) {
        self.sql(&format!(
            "INSERT INTO excom.own_variable VALUES (1770000000000, '{key}', '{text}', 'ours')"
        ));
    }

    /// How many there are of those.
    pub(crate) fn still_kept(&self) -> String {
        self.sql("SELECT count(*) FROM excom.own_variable")
    }

    /// How many earlier versions there are.
    pub(crate) fn history(&self) -> String {
        self.sql("SELECT count(*) FROM excom.history")
    }

    /// The lengths that Airflow's scheduler is told, each with its task and the keys of a dict.
    pub(crate) fn lengths(&self) -> String {
        let sql = "SELECT concat(task_id, ' ', length, ' ', keys) FROM task_map ORDER BY task_id";
        self.sql(sql).lines().collect::<Vec<_>>().join(", ")
    }

    /// How many rows of Airflow's, and how many objects without one, Excom has noted.
    pub(crate) fn noted(&self) -> String {
        self.sql("SELECT (SELECT count(*) FROM excom.extra) + (SELECT count(*) FROM excom.loose_object)")
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        SERVER.sql(&self.name, sql).unwrap()
    }

    /// How many deadlocks there were.
    pub(crate) fn deadlocks(&self) -> String {
        self.sessions_end();
        self.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    }

    /// Waits for Excom's sessions to end: one tells what it counted at the latest then.
    pub(crate) fn sessions_end(&self) {
        let others = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND application_name = 'excom'";
        let begun = Instant::now();
        while self.sql(others) != "0" {
            assert!(begun.elapsed().as_secs() < 30, "sessions end with those that opened them");
        }
    }

    pub(crate) fn open(&self) -> Db {
        pollster::block_on(Db::open(&self.url(), &options())).unwrap()
    }

    /// The real Airflow of this database.
    pub(crate) fn python(&self) -> Python {
        Python::with_airflow().unwrap().on_postgres(&self.url()).unwrap()
    }
}

pub(crate) fn options() -> Options {
    Options { connections: 4, ..Options::default() }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.reused {
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.name));
        }
    }
}
