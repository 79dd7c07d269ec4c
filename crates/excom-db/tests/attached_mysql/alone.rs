//! A server that a scenario has to itself, with an Airflow's database to which Excom is attached, and may treat roughly.
//! Scenarios take turns with one.

#[path = "../server/engine.rs"]
mod engine;
#[path = "../attached/expected.rs"]
mod expected;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use excom_db::mysql::Options;
use excom_db::mysql::attached::Db;
use excom_testkit::mount::Tmpfs;
use excom_testkit::mysql::Mysql as Server;
use excom_testkit::skip::skipped;
use pollster::block_on;

use crate::held::Held;
use crate::rough::{await_commit, elsewhere, hold_commits, kill};
use crate::support::template;

/// The server.
static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start().unwrap()));

/// One that others can follow.
static LOGGING: LazyLock<Mutex<Server>> =
    LazyLock::new(|| Mutex::new(Server::start_with(&["--log-bin=log", "--server-id=7"]).unwrap()));

pub(crate) struct Alone {
    server: MutexGuard<'static, Server>,
    database: String,
}

/// The URL for Excom, whose tables are in a database beside Airflow's.
fn url(server: &Server, database: &str) -> String {
    format!("{}?beside=excom_{database}", server.url(database))
}

/// Makes Airflow's tables in an empty database, and attaches Excom to it.
fn attach(server: &Server, database: &str) {
    server.sql(database, template().unwrap()).unwrap();
    block_on(Db::attach(&url(server, database), &Options::default())).unwrap();
}

impl Alone {
    /// The table that pushes write to.
    pub(crate) const TABLE: &str = "xcom";

    /// How much each writer pushes while the network is spoiled.
    pub(crate) const PUSHES: u64 = 4;

    /// How large a disk is that gets full, in KiB.
    pub(crate) const DISK: u64 = 64 << 10;

    /// One with a database to which Excom is attached; or a line that counts the test as skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::start_on(&SERVER, test)
    }

    /// The same on a server that others can follow.
    pub(crate) fn with_log(test: &str) -> Option<Self> {
        Self::start_on(&LOGGING, test)
    }

    fn start_on(server: &'static LazyLock<Mutex<Server>>, test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        template().inspect_err(|why| skipped(test, why)).ok()?;
        let server = server.lock().unwrap_or_else(PoisonError::into_inner);
        let alone = Self { server, database: format!("f{}", COUNT.fetch_add(1, Ordering::Relaxed)) };
        let make = format!("CREATE DATABASE {} CHARACTER SET utf8mb4", alone.database);
        alone.sql("excom", &make).unwrap();
        attach(&alone, &alone.database);
        Some(alone)
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    pub(crate) fn url(&self) -> String {
        url(self, &self.database)
    }

    /// Cuts all our connections.
    pub(crate) fn cut(&self) {
        kill(self, &format!("excom_{}", self.database));
    }

    /// Lets no push come to its end.
    pub(crate) fn hold_pushes(&self) -> Held<'_> {
        hold_commits(self)
    }

    /// Waits until the first try of a push is held; the next may find it done.
    pub(crate) fn await_pushes(&self, tries: u32) {
        await_commit(self, tries);
    }

    /// A database in a small file system.
    pub(crate) fn on(self, disk: &Tmpfs) -> Self {
        elsewhere(&self, disk, "small");
        attach(&self, "small");
        Self { database: "small".to_owned(), ..self }
    }

    /// A server with a database of the same name, and nothing in it.
    pub(crate) fn replica(&self) -> Server {
        let server = Server::start().unwrap();
        server.sql("excom", &format!("CREATE DATABASE {} CHARACTER SET utf8mb4", self.database)).unwrap();
        server
    }

    /// Somebody makes of an empty database what a process that begins with it needs.
    pub(crate) fn begin(&self, replica: &Server) {
        attach(replica, &self.database);
    }

    /// Ends before its file system does.
    pub(crate) fn end(self) {
        self.sql("excom", "DROP DATABASE small").unwrap();
    }
}
