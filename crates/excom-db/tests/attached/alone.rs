//! A server that a scenario has to itself, with an Airflow's database to which Excom is attached, and may treat roughly.
//! Scenarios take turns with one, because an Airflow takes long to make its schema.

#[path = "../server/engine.rs"]
mod engine;
#[path = "expected.rs"]
mod expected;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use excom_db::postgres::Options;
use excom_db::postgres::attached::Db;
use excom_testkit::mount::Tmpfs;
use excom_testkit::postgres::Postgres as Server;
use excom_testkit::skip::skipped;
use pollster::block_on;

use crate::held::Held;
use crate::rough::{await_locks, cut, tablespace};
use crate::support::migrated_on;

/// The server, with a database `airflow` as Airflow made it; or why there is none.
static SERVER: LazyLock<std::result::Result<Mutex<Server>, String>> = LazyLock::new(|| {
    Server::available()?;
    let server = Server::start().map_err(|error| error.to_string())?;
    server.sql("postgres", "CREATE DATABASE airflow").map_err(|error| error.to_string())?;
    migrated_on(&server, "airflow", None)?;
    Ok(Mutex::new(server))
});

pub(crate) struct Alone {
    server: MutexGuard<'static, Server>,
    database: String,
}

impl Alone {
    /// The table that pushes write to.
    pub(crate) const TABLE: &str = "xcom";

    /// How much each writer pushes while the network is spoiled.
    pub(crate) const PUSHES: u64 = 12;

    /// How large a disk is that gets full, in KiB.
    pub(crate) const DISK: u64 = 64 << 10;

    /// One with a database to which Excom is attached; or a line that counts the test as skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.as_ref().inspect_err(|why| skipped(test, why)).ok()?;
        let server = server.lock().unwrap_or_else(PoisonError::into_inner);
        let alone = Self { server, database: format!("f{}", COUNT.fetch_add(1, Ordering::Relaxed)) };
        alone.make("");
        Some(alone)
    }

    /// Makes the database, by a clause of its own.
    fn make(&self, clause: &str) {
        let make = format!("CREATE DATABASE {} TEMPLATE airflow {clause}", self.database);
        self.sql("postgres", &make).unwrap();
        block_on(Db::attach(&self.url(), &Options::default())).unwrap();
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.database)
    }

    /// Cuts all our connections.
    pub(crate) fn cut(&self) {
        cut(self);
    }

    /// Lets no push come to its end.
    pub(crate) fn hold_pushes(&self) -> Held<'_> {
        Held::start(self, &self.database, &format!("LOCK TABLE {} IN SHARE MODE", Self::TABLE))
    }

    /// Waits until so many tries of pushes are held.
    pub(crate) fn await_pushes(&self, tries: u32) {
        await_locks(self, tries);
    }

    /// A database in a small file system.
    pub(crate) fn on(self, disk: &Tmpfs) -> Self {
        tablespace(&self, disk);
        let small = Self { database: "small".to_owned(), ..self };
        small.make("TABLESPACE small");
        small
    }

    /// Somebody makes of an empty database what a process that begins with it needs.
    pub(crate) fn begin(&self) {
        self.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.database)).unwrap();
        self.make("");
    }

    /// Ends before its file system does.
    pub(crate) fn end(self) {
        self.sql("postgres", "DROP DATABASE small WITH (FORCE)").unwrap();
        self.sql("postgres", "DROP TABLESPACE small").unwrap();
    }
}
