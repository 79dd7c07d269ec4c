//! PgBouncer in transaction mode stands between: every statement may come to another connection of the server.

use std::sync::{Arc, LazyLock};

use excom_core::conformance::Empty;
use excom_core::memory;
use excom_db::postgres::{Db, Options};
use excom_testkit::pgbouncer::PgBouncer;
use excom_testkit::skip::skipped;

use crate::support::{Database, server};

/// As the documentation says for a PgBouncer that passes no prepared statements on.
fn options() -> Options {
    Options { connections: 4, prepare: false, ..Options::default() }
}

/// Fewer connections than clients have, so they change under these.
static BOUNCER: LazyLock<Option<PgBouncer>> =
    LazyLock::new(|| server().map(|server| PgBouncer::start(server, 3).unwrap()));

fn empty() -> Empty {
    if let Err(why) = PgBouncer::available() {
        skipped(std::thread::current().name().unwrap_or("pgbouncer"), &why);
        return Arc::new(memory::Db::new()).into();
    }
    let (Some(server), Some(bouncer)) = (server(), &*BOUNCER) else {
        return Arc::new(memory::Db::new()).into();
    };
    let database = Database::new(server);
    let db = pollster::block_on(Db::open(&bouncer.url(&database.url()), &options())).unwrap();
    Empty { db: Arc::new(db), keep: Box::new(database) }
}

excom_core::conformance_scenarios!([excom_core::metadata_db_conformance] @ empty;);

#[test]
fn random_histories_agree_with_a_model() {
    excom_core::conformance::histories(empty, 4, 60);
}
