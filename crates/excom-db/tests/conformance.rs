//! SQLite passes the suite that every metadata database passes.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

use std::sync::Arc;

use excom_core::conformance::Empty;
use excom_db::sqlite::{Db, Options};

fn empty() -> Empty {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("excom.db"), Options::default()).unwrap();
    Empty { db: Arc::new(db), keep: Box::new(folder) }
}

excom_core::metadata_db_conformance!(empty);
