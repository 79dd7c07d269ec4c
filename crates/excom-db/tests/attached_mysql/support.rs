//! Databases that Airflow made, on a server that all tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use excom_db::mysql::Options;
use excom_db::mysql::attached::{Bare, Db};
use excom_testkit::mysql::Mysql;
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;

use crate::held::Held;

/// The server of all tests. It ends with the process.
static SERVER: LazyLock<Mysql> = LazyLock::new(|| Mysql::start().unwrap());

/// The tables of a database as `airflow db migrate` leaves it, or why there are none. Others are made from these.
static TEMPLATE: LazyLock<Result<String, String>> = LazyLock::new(|| {
    Mysql::available()?;
    SERVER
        .sql("excom", "CREATE DATABASE airflow CHARACTER SET utf8mb4")
        .map_err(|error| error.to_string())?;
    migrated("airflow")?;
    let tables =
        "SELECT GROUP_CONCAT(table_name) FROM information_schema.tables WHERE table_schema = 'airflow'";
    let sql = |sql: &str| SERVER.sql("airflow", sql).map_err(|error| error.to_string());
    let mut script = "SET foreign_key_checks = 0;".to_owned();
    for table in sql(tables)?.split(',') {
        let made = sql(&format!("SELECT 1; SHOW CREATE TABLE `{table}`"))?;
        let made = made.split_once('\t').map_or("", |(_, made)| made).replace("\\n", "\n");
        script += &format!("{made};\n");
    }
    let revision = sql("SELECT version_num FROM alembic_version")?;
    Ok(script + &format!("INSERT INTO alembic_version VALUES ('{revision}');"))
});

/// The statements that make the tables of an Airflow, or why there are none.
pub(crate) fn template() -> Result<&'static str, &'static String> {
    TEMPLATE.as_ref().map(String::as_str)
}

/// Databases that tests are done with: to make one takes longer than to empty one.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Has Airflow make its schema.
pub(crate) fn migrated(database: &str) -> Result<(), String> {
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    Python::with_airflow()?.on_mysql(&SERVER.url(database))?.airflow(home.path(), &["db", "migrate"])
}

/// A database that Airflow made, which no other test uses meanwhile.
pub(crate) struct Database {
    pub(crate) name: String,
    reused: bool,
}

/// Tables of Airflow's that tests write to, those that refer to others first.
const WRITTEN: [&str; 7] =
    ["variable", "task_map", "xcom", "task_instance_history", "task_instance", "dag_run", "dag"];

impl Database {
    /// One with Excom attached to it; none, and a line that counts the test as skipped, where there is no Airflow.
    pub(crate) fn attached() -> Option<Self> {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(name) = free {
            let database = Self { name, reused: true };
            let ours = database.sql(&format!(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'excom_{}'
                 AND table_name NOT IN ('excom_attached', 'excom_slot')",
                database.name
            ));
            let ours = ours.lines().map(|table| format!("excom_{}.{table}", database.name));
            let all = WRITTEN.into_iter().map(str::to_owned).chain(ours);
            database.sql(&all.map(|table| format!("DELETE FROM {table};")).collect::<String>());
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
        let database = Self::empty()?;
        database.sql(TEMPLATE.as_ref().unwrap());
        Some(database)
    }

    /// One with nothing in it; none where there is no Airflow.
    pub(crate) fn empty() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let test = std::thread::current().name().unwrap_or("attached").to_owned();
        TEMPLATE.as_ref().inspect_err(|why| skipped(&test, why)).ok()?;
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        SERVER.sql("excom", &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).unwrap();
        Some(Self { name, reused: false })
    }

    /// The URL for Excom, whose tables are in a database beside it.
    pub(crate) fn url(&self) -> String {
        format!("{}?beside=excom_{}", self.airflows(), self.name)
    }

    /// The URL for Airflow.
    pub(crate) fn airflows(&self) -> String {
        SERVER.url(&self.name)
    }

    /// Works with Airflow's tables alone, as a user who has the rights that docs/attached.md lists and no others.
    pub(crate) fn bare(&self) -> Bare {
        let mut grants = "CREATE USER IF NOT EXISTS bare IDENTIFIED BY 'weak';".to_owned();
        for (rights, table) in [
            ("SELECT", "alembic_version"),
            ("SELECT", "dag_run"),
            ("SELECT", "task_instance_history"),
            ("SELECT, UPDATE", "task_instance"),
            ("SELECT, INSERT, UPDATE, DELETE", "xcom"),
            ("SELECT, INSERT, UPDATE, DELETE", "task_map"),
            ("SELECT, INSERT, UPDATE, DELETE", "variable"),
        ] {
            grants += &format!("GRANT {rights} ON {}.{table} TO bare;", self.name);
        }
        self.sql(&grants);
        let url = self.airflows();
        let url = format!("mysql://bare:weak{}", &url[url.rfind('@').unwrap()..]);
        pollster::block_on(Bare::open(&url, &options())).unwrap()
    }

    /// How many databases of ours there are beside it.
    pub(crate) fn ours(&self) -> String {
        self.sql(&format!(
            "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'excom_{}'",
            self.name
        ))
    }

    /// A variable as Excom kept it itself, with a description.
    pub(crate) fn kept(&self, key: &str, text: &str) {
        self.sql(&format!(
            "INSERT INTO excom_{}.excom_variable (name, text, description, updated)
             VALUES ('{key}', '{text}', 'ours', 1770000000000)",
            self.name
        ));
    }

    /// How many there are of those.
    pub(crate) fn still_kept(&self) -> String {
        self.sql(&format!("SELECT COUNT(*) FROM excom_{}.excom_variable", self.name))
    }

    /// How many earlier versions there are.
    pub(crate) fn history(&self) -> String {
        self.sql(&format!("SELECT COUNT(*) FROM excom_{}.excom_history", self.name))
    }

    /// The lengths that Airflow's scheduler is told, each with its task and the keys of a dict.
    pub(crate) fn lengths(&self) -> String {
        let sql = "SELECT concat(task_id, ' ', length, ' ', `keys`) FROM task_map ORDER BY task_id";
        self.sql(sql).lines().collect::<Vec<_>>().join(", ")
    }

    /// How many rows of Airflow's, and how many objects without one, Excom has noted.
    pub(crate) fn noted(&self) -> String {
        self.sql(&format!(
            "SELECT (SELECT COUNT(*) FROM excom_{0}.excom_entry) + (SELECT COUNT(*) FROM excom_{0}.excom_loose_object)",
            self.name
        ))
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        SERVER.sql(&self.name, sql).unwrap()
    }

    /// A session that locks something until it is dropped.
    pub(crate) fn held(&self, statements: &str) -> Held<'static> {
        Held::start(&SERVER, &self.name, statements)
    }

    /// How many times something in this database waited for what waited for it. The server counts all of them together,
    /// so they are looked for where it tells of the last.
    pub(crate) fn deadlocks(&self) -> String {
        let told = self.sql("SHOW ENGINE INNODB STATUS");
        let last = told.split("LATEST DETECTED DEADLOCK").nth(1).unwrap_or_default();
        let last = last.split("\nTRANSACTIONS\n").next().unwrap_or_default();
        last.contains(&format!("`{}`", self.name)).to_string()
    }

    pub(crate) fn open(&self) -> Db {
        pollster::block_on(Db::open(&self.url(), &options())).unwrap()
    }

    /// The real Airflow of this database.
    pub(crate) fn python(&self) -> Python {
        Python::with_airflow().unwrap().on_mysql(&self.airflows()).unwrap()
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
