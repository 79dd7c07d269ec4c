//! Stored bytes: which there are, and objects that no entry has yet or any more.

use std::sync::Arc;

use jiff::Timestamp;

use crate::XComKey;
use crate::entry::Version;
use crate::seal::Reference;
use crate::value::ContentHash;

/// An object without an entry: being written, or to be purged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LooseObject {
    /// Which XCom it belongs or belonged to.
    pub key: XComKey,
    /// Which version.
    pub version: Version,
    /// Which store.
    pub store: Arc<str>,
    /// Since when.
    pub since: Timestamp,
}

/// A version whose bytes are kept, without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Which XCom.
    pub key: XComKey,
    /// Which version.
    pub version: Version,
    /// Whether it ended, so that it is in the history.
    pub past: bool,
    /// Size of the value's JSON text in bytes.
    pub size: u64,
    /// Checksum of the value's JSON text.
    pub hash: ContentHash,
    /// Whether it is a secret.
    pub secret: bool,
    /// Where the bytes are; none when they are in the metadata database.
    pub reference: Option<Reference>,
}

/// A version that something else wrote in the same tables, as Airflow does in its own database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Which XCom.
    pub key: XComKey,
    /// Which version.
    pub version: Version,
    /// Its bytes, as they are stored.
    pub size: u64,
}

impl Kept {
    /// The key that seals it; none when nothing does.
    pub fn key_id(&self) -> Option<&Arc<str>> {
        self.reference.as_ref().map(|reference| &reference.key_id)
    }

    /// The store that it is in, and the MAC of its seal there; none when it is in the metadata database.
    pub fn place(&self) -> (Option<&str>, Option<&str>) {
        let reference = self.reference.as_ref();
        (reference.map(|reference| &*reference.store), reference.map(|reference| &*reference.mac))
    }
}

/// Where a look through all rows of a kind goes on. What it holds is the database's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Behind the entries, in the history.
    pub past: bool,
    /// The row.
    pub row: i64,
}

/// Some rows of a look through all of them, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where it goes on; none at the end.
    pub next: Option<Place>,
}
