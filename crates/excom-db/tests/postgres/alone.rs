//! A server that a scenario has to itself, and may treat roughly.

#[path = "../server/empty.rs"]
mod empty;
#[path = "../server/engine.rs"]
mod engine;

use excom_db::postgres::{Db, Options};
use excom_testkit::mount::Tmpfs;
use excom_testkit::postgres::Postgres as Server;
use excom_testkit::skip::skipped;

use crate::held::Held;
use crate::rough::{await_locks, cut, tablespace};

pub(crate) struct Alone {
    server: Server,
    database: &'static str,
}

impl Alone {
    /// The table that pushes write to.
    pub(crate) const TABLE: &str = "excom.entry";

    /// How much each writer pushes while the network is spoiled.
    pub(crate) const PUSHES: u64 = 20;

    /// How large a disk is that gets full, in KiB.
    pub(crate) const DISK: u64 = 24 << 10;

    /// One with an empty database; or a line that counts the test as skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Server::available().inspect_err(|why| skipped(test, why)).ok()?;
        let server = Server::start().unwrap();
        server.sql("postgres", "CREATE DATABASE live").unwrap();
        Some(Self { server, database: "live" })
    }

    pub(crate) fn database(&self) -> &str {
        self.database
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(self.database)
    }

    /// Cuts all our connections.
    pub(crate) fn cut(&self) {
        cut(self);
    }

    /// Lets no push come to its end.
    pub(crate) fn hold_pushes(&self) -> Held<'_> {
        Held::start(self, self.database, &format!("LOCK TABLE {} IN SHARE MODE", Self::TABLE))
    }

    /// Waits until so many tries of pushes are held.
    pub(crate) fn await_pushes(&self, tries: u32) {
        await_locks(self, tries);
    }

    /// A database in a small file system.
    pub(crate) fn on(self, disk: &Tmpfs) -> Self {
        tablespace(&self, disk);
        self.sql("postgres", "CREATE DATABASE small TABLESPACE small").unwrap();
        Self { database: "small", ..self }
    }

    /// Somebody makes of an empty database what a process that begins with it needs: it does so itself.
    pub(crate) fn begin(&self) {}
}
