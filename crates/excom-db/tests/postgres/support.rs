//! Databases on a server that all tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use excom_core::conformance::Empty;
use excom_core::{Caller, Engine, PullOptions, Result, Value, XComKey, memory};
use excom_db::postgres::{Db, Options};
use excom_testkit::postgres::Postgres;
use excom_testkit::skip::skipped;

/// The server of all tests. It ends with the process.
static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres::start().unwrap());

/// The server, or a line that counts the test as skipped.
pub(crate) fn server() -> Option<&'static Postgres> {
    let test = std::thread::current().name().unwrap_or("postgres").to_owned();
    Postgres::available().map(|()| &*SERVER).inspect_err(|why| skipped(&test, why)).ok()
}

/// A database on the server, which no other test uses meanwhile.
pub(crate) struct Database {
    server: &'static Postgres,
    name: String,
}

/// Databases that tests are done with: to make one takes longer than to empty one.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Database {
    /// An empty database, with its schema or none.
    pub(crate) fn new(server: &'static Postgres) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(name) = free {
            let tables = "SELECT string_agg('excom.' || relname, ', ') FROM pg_class
                 WHERE relnamespace = 'excom'::regnamespace AND relkind = 'r' AND relname <> 'migration'";
            let tables = server.sql(&name, tables).unwrap();
            server.sql(&name, &format!("TRUNCATE {tables}")).unwrap();
            return Self { server, name };
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
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
    server: &'a Postgres,
    database: String,
    session: Option<std::thread::JoinHandle<()>>,
}

impl<'a> Held<'a> {
    /// Takes it by a statement of PL/pgSQL.
    pub(crate) fn start(server: &'a Postgres, database: &str, statement: &str) -> Self {
        let sql = |sql: &str| server.sql(database, sql).unwrap();
        // A sequence tells at once, also out of a transaction and into one.
        sql("CREATE SEQUENCE IF NOT EXISTS public.holding");
        sql("SELECT setval('public.holding', 1)");
        let hold = format!(
            "DO $$ BEGIN {statement}; PERFORM setval('public.holding', 2);
             WHILE (SELECT last_value FROM public.holding) = 2 LOOP PERFORM pg_sleep(0.01); END LOOP; END $$"
        );
        let url = server.url(database);
        let session = std::thread::spawn(move || Postgres::run(&url, &hold).map(drop).unwrap());
        while sql("SELECT last_value FROM public.holding") != "2" {
            std::thread::yield_now();
        }
        Self { server, database: database.to_owned(), session: Some(session) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.server.sql(&self.database, "SELECT setval('public.holding', 3)").unwrap();
        if let Some(session) = self.session.take() {
            session.join().unwrap();
        }
    }
}
