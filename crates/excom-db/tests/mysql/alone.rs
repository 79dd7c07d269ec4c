//! A server that a scenario has to itself, and may treat roughly.

#[path = "../server/empty.rs"]
mod empty;
#[path = "../server/engine.rs"]
mod engine;

use excom_db::mysql::{Db, Options};
use excom_testkit::mount::Tmpfs;
use excom_testkit::mysql::Mysql as Server;
use excom_testkit::skip::skipped;

use crate::held::Held;
use crate::rough::{await_commit, elsewhere, hold_commits, kill};

/// What a server needs that others follow.
const LOG: [&str; 2] = ["--log-bin=log", "--server-id=7"];

pub(crate) struct Alone {
    server: Server,
    database: &'static str,
}

impl Alone {
    /// The table that pushes write to.
    pub(crate) const TABLE: &str = "excom_entry";

    /// How much each writer pushes while the network is spoiled.
    pub(crate) const PUSHES: u64 = 8;

    /// How large a disk is that gets full, in KiB.
    pub(crate) const DISK: u64 = 24 << 10;

    /// One with an empty database; or a line that counts the test as skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Server::available().inspect_err(|why| skipped(test, why)).ok()?;
        Some(Self { server: Server::start().unwrap(), database: "excom" })
    }

    /// The same on a server that others can follow.
    pub(crate) fn with_log(test: &str) -> Option<Self> {
        Server::available().inspect_err(|why| skipped(test, why)).ok()?;
        Some(Self { server: Server::start_with(&LOG).unwrap(), database: "excom" })
    }

    pub(crate) fn database(&self) -> &str {
        self.database
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(self.database)
    }

    /// Cuts all our connections.
    pub(crate) fn cut(&self) {
        kill(self, self.database);
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
        Self { database: "small", ..self }
    }

    /// A server with a database of the same name, and nothing in it.
    pub(crate) fn replica(&self) -> Server {
        Server::start().unwrap()
    }

    /// Somebody makes of an empty database what a process that begins with it needs: it does so itself.
    pub(crate) fn begin(&self, _replica: &Server) {}
}
