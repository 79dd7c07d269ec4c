//! Metadata databases for Excom: SQLite, embedded, PostgreSQL (feature `postgres`), MySQL and MariaDB (feature
//! `mysql`).
//!
//! Only this crate knows column names. Each dialect has a folder with the same file names: `schema`
//! (numbered migrations), `read` and `write` (the statements), `mod` (the database itself).
//!
//! ```
//! use std::sync::Arc;
//! use excom_core::{Caller, Engine, Value, XComKey, memory};
//! use excom_db::sqlite;
//!
//! # pollster::block_on(async {
//! let folder = tempfile::tempdir().unwrap();
//! let db = sqlite::Db::open(&folder.path().join("excom.db"), sqlite::Options::default())?;
//! let engine = Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build();
//! let key = XComKey::new("weather", "manual__1", "count", -1, "rows")?;
//! engine.push(&Caller::user("ana"), &key, Value::of(&365)?.into()).await?;
//! # Ok::<(), excom_core::Error>(())
//! # }).unwrap();
//! ```

mod airflow;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod away;
mod bare;
mod dictionary;
mod expansion;
mod fernet;
mod kept;
mod ledger;
#[cfg(feature = "mysql")]
pub mod mysql;
mod packing;
#[cfg(feature = "postgres")]
pub mod postgres;
mod server;
pub mod sqlite;
mod survey;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod trust;
mod variable;

pub use fernet::Fernet;
pub use survey::{Part, Survey};
