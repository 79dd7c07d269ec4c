//! Retention: which entries expire, and what is removed.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::XComKey;
use crate::entry::Version;
#[cfg(doc)]
use crate::run::{DagRun, RunState};

/// A rule by which entries expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// How it is set, for the answer `Expired`.
    pub text: Arc<str>,
    /// Which entries it catches.
    pub expires: Expires,
    /// Whether also those that something else wrote in the same tables: where
    /// [`MetadataDb::is_shared`](crate::db::MetadataDb::is_shared) alone.
    pub outside: bool,
}

/// Which entries a rule catches. A run counts as going on while it is [`RunState::Running`], or one of its task
/// instances has not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// Those pushed before, also of runs that go on: one that was killed does so for ever.
    Pushed(Timestamp),
    /// Those of all but the newest so many runs, by [`DagRun::order`], that have entries of the same task of the
    /// same DAG. Runs that go on count, and keep theirs.
    Behind(u32),
    /// Those neither pushed since nor, as the ledger knows, read since, alone or as part of a sequence. Runs that
    /// go on keep theirs.
    Unread(Timestamp),
    /// Those of runs that ended well before, and all of whose task instances succeeded, were skipped or removed:
    /// every reader that the DAG declares has read them.
    Done(Timestamp),
}

/// An entry that a rule catches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which XCom.
    pub key: XComKey,
    /// Which version.
    pub version: Version,
    /// Size of the value's JSON text in bytes; of what something else wrote, as it is stored.
    pub size: u64,
    /// The first rule that catches it: its place among those asked about.
    pub rule: usize,
}

/// What a retention step removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Removed {
    /// Entries that became expired.
    pub entries: u64,
    /// Bytes of the values that went with entries and earlier versions, as JSON text; of what something else wrote, as
    /// they were stored.
    pub bytes: u64,
    /// Earlier versions whose bytes went.
    pub past_bytes: u64,
    /// Earlier versions that were forgotten.
    pub past_entries: u64,
    /// Ledger rows, events of assets, and counts of what would be refused.
    pub reads: u64,
    /// Old runs without any entry or history, with their task instances: finished ones, and those that only
    /// seem to run, because no task of them started for as long.
    pub runs: u64,
}

impl Removed {
    /// Counts what another step removed too.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.past_bytes += other.past_bytes;
        self.past_entries += other.past_entries;
        self.reads += other.reads;
        self.runs += other.runs;
    }

    /// Whether a kind of row reached the limit of a step, so that there may be more.
    pub fn reaches(&self, limit: u32) -> bool {
        let most = [self.entries, self.past_bytes, self.past_entries, self.runs].into_iter().max();
        most.is_some_and(|most| most >= limit.into())
    }

    /// Whether nothing was left to remove.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The moments before which retention removes what is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutoffs {
    /// Runs that ended before and hold nothing go; none keeps them.
    pub runs: Option<Timestamp>,
    /// Bytes of versions that ended before go.
    pub past_bytes: Timestamp,
    /// Versions that ended before are forgotten.
    pub past_entries: Timestamp,
    /// Ledger rows, and counts of what would be refused, last used before go; events of assets made before, and assets
    /// without newer ones.
    pub reads: Timestamp,
    /// Now.
    pub at: Timestamp,
    /// The most rows of each kind that one step removes.
    pub limit: u32,
}
