//! Databases on a server that all tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use excom_core::conformance::Empty;
use excom_core::{Caller, Engine, PullOptions, Result, Value, XComKey, memory};
use excom_db::mysql::{Db, Options};
use excom_testkit::mysql::Mysql;
use excom_testkit::skip::skipped;

/// The server of all tests. It ends with the process.
static SERVER: LazyLock<Mysql> = LazyLock::new(|| Mysql::start().unwrap());

/// The server, or a line that counts the test as skipped.
pub(crate) fn server() -> Option<&'static Mysql> {
    let test = std::thread::current().name().unwrap_or("excom").to_owned();
    Mysql::available().map(|()| &*SERVER).inspect_err(|why| skipped(&test, why)).ok()
}

/// A database on the server, which no other test uses meanwhile.
pub(crate) struct Database {
    server: &'static Mysql,
    name: String,
}

/// Databases that tests are done with: to make one takes longer than to empty one.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Database {
    /// An empty database, with its schema or none.
    pub(crate) fn new(server: &'static Mysql) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(name) = free {
            let tables = "SELECT CONCAT('TRUNCATE ', table_name, ';') FROM information_schema.tables
                 WHERE table_schema = DATABASE() AND table_name NOT IN ('excom_migration', 'excom_slot')";
            let tables = server.sql(&name, tables).unwrap();
            server.sql(&name, &tables).unwrap();
            return Self { server, name };
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.sql("excom", &format!("CREATE DATABASE {name}")).unwrap();
        Self { server, name }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql).unwrap()
    }

    pub(crate) fn open(&self) -> Db {
        pollster::block_on(Db::open(&self.url(), &Options { connections: 4, ..Options::default() })).unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.name));
    }
}

/// An empty database for a scenario. Where there is no server the scenario runs in memory, and counts as skipped.
pub(crate) fn empty() -> Empty {
    let Some(server) = server() else { return Arc::new(memory::Db::new()).into() };
    let database = Database::new(server);
    Empty { db: Arc::new(database.open()), keep: Box::new(database) }
}

/// The value of an XCom.
pub(crate) fn pulled(engine: &Engine, key: &XComKey) -> Result<Value> {
    let keys = std::slice::from_ref(key);
    let answers = pollster::block_on(engine.pull(&Caller::user("test"), keys, PullOptions::default()))?;
    answers.into_iter().next().unwrap().value()
}

/// A session that holds a lock until this is dropped.
pub(crate) struct Held<'a> {
    server: &'a Mysql,
    session: std::process::Child,
    id: String,
}

impl<'a> Held<'a> {
    /// Takes it by statements.
    pub(crate) fn start(server: &'a Mysql, database: &str, statements: &str) -> Self {
        let session = server.session(database, &format!("{statements}; SELECT SLEEP(600)")).unwrap();
        let mut held = Self { server, session, id: String::new() };
        while held.id.is_empty() {
            let id = "SELECT id FROM information_schema.processlist WHERE info = 'SELECT SLEEP(600)'";
            held.id = server.sql("information_schema", id).unwrap();
        }
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.server.sql("excom", &format!("KILL {}", self.id)).unwrap();
        self.session.wait().unwrap();
    }
}
