//! Databases on a server that all tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use excom_core::conformance::Empty;
use excom_core::memory;
use excom_db::postgres::{Db, Options};
use excom_testkit::postgres::Postgres;
use excom_testkit::skip::skipped;

/// The server of the tests that run now. It ends with the last of them.
static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

/// A server, or a line that counts the test as skipped.
pub(crate) fn server() -> Option<Arc<Postgres>> {
    let test = std::thread::current().name().unwrap_or("postgres").to_owned();
    if let Err(why) = Postgres::available() {
        skipped(&test, &why);
        return None;
    }
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    Some(server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgres::start().unwrap());
        *server = Arc::downgrade(&started);
        started
    }))
}

/// A new database on it: its name.
pub(crate) fn database(server: &Postgres) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
    server.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
    name
}

/// An empty database for a scenario. Where there is no server the scenario runs in memory, and counts as skipped.
pub(crate) fn empty() -> Empty {
    let Some(server) = server() else { return Arc::new(memory::Db::new()).into() };
    let url = server.url(&database(&server));
    let db = pollster::block_on(Db::open(&url, &Options { connections: 4, ..Options::default() })).unwrap();
    Empty { db: Arc::new(db), keep: Box::new(server) }
}
