//! Databases on a server that all tests of a program share, and what such a server is to them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use excom_core::conformance::Empty;
use excom_core::{MetadataDb, Result, memory};
use excom_testkit::skip::skipped;

use crate::Server;
pub(crate) use crate::faults::pulled;

/// What differs from server to server. Each program of tests has one of them, as `Server`.
pub(crate) trait Kind {
    type Db: MetadataDb + 'static;

    /// The newest schema of ours.
    const SCHEMA: u32;
    /// A database that is there from the beginning.
    const FIRST: &str;
    /// What the names of our tables begin with.
    const OURS: &str;
    /// What is between two columns of an answer.
    const BETWEEN: char;
    /// What is said of the database `nothing_here`.
    const NOT_THERE: &str;

    /// Opens a database, with so many connections or as many as there are by default.
    fn open(url: &str, connections: Option<usize>) -> Result<Self::Db>;

    /// Removes what all our tables hold, but for what the schema came with.
    fn clear(&self, database: &str);

    /// Makes databases in which names that differ are taken for the same, and tells what they are called.
    fn folded(&self) -> Vec<&'static str>;

    /// How many deadlocks there were on the server. Whoever had a database there open is gone.
    fn deadlocks(&self) -> String;
}

/// Opens a database.
pub(crate) fn open(url: &str) -> Result<<Server as Kind>::Db> {
    Server::open(url, None)
}

/// The server of all tests. It ends with the process.
static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start().unwrap());

/// A server of one test's own, or a line that counts the test as skipped.
pub(crate) fn own_server() -> Option<Server> {
    is_available().then(|| Server::start().unwrap())
}

/// The server of all tests, or a line that counts the test as skipped.
pub(crate) fn server() -> Option<&'static Server> {
    is_available().then(|| &*SERVER)
}

fn is_available() -> bool {
    let test = std::thread::current().name().unwrap_or("excom").to_owned();
    Server::available().inspect_err(|why| skipped(&test, why)).is_ok()
}

/// A database on the server, which no other test uses meanwhile.
pub(crate) struct Database {
    server: &'static Server,
    name: String,
}

/// Databases that tests are done with: to make one takes longer than to empty one.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Database {
    /// An empty database, with its schema or none.
    pub(crate) fn new(server: &'static Server) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(name) = free {
            server.clear(&name);
            return Self { server, name };
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.sql(Server::FIRST, &format!("CREATE DATABASE {name}")).unwrap();
        Self { server, name }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql).unwrap()
    }

    pub(crate) fn open(&self) -> <Server as Kind>::Db {
        Server::open(&self.url(), Some(4)).unwrap()
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
