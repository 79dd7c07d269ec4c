//! The ledger's write side: reads are gathered and written together, or written before the answer.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Engine;
use crate::Result;
use crate::attempt::Caller;
use crate::db::{ReadTarget, Reads};

/// How reads are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ledger {
    /// Gathered in memory and written about once a second; a crash loses the last of them.
    #[default]
    Batched,
    /// Written before the read is answered, while values outside of the database are loaded; so a value that
    /// turns out to be lost or damaged may be noted as read too.
    Strict,
    /// Not noted.
    Off,
}

/// How long gathered reads wait at most, while something drives [`Engine::maintain`].
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Distinct (reader, target) pairs gathered before the next read writes them itself.
const FLUSH_AT: usize = 65_536;

/// Distinct pairs kept at most while they cannot be written.
const LIMIT: usize = 4 * FLUSH_AT;

/// The most rows that are written in one step, so that pushes need not wait behind them for long.
const CHUNK: usize = 1000;

/// Reads that wait to be written.
pub(super) struct Buffer {
    reads: Mutex<Gathered>,
}

struct Gathered {
    /// Keyed by hash first, so that a repeated read compares but clones nothing.
    rows: HashMap<u64, Vec<Reads>, RandomState>,
    distinct: usize,
    hasher: RandomState,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let gathered = Gathered { rows: HashMap::default(), distinct: 0, hasher: RandomState::default() };
        Self { reads: Mutex::new(gathered) }
    }

    /// Adds one read; tells whether it is time to write.
    fn add(&self, reader: &Caller, target: &TargetRef<'_>, at: Timestamp) -> bool {
        let mut gathered = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = gathered.hasher.hash_one((reader, target));
        let full = gathered.distinct >= LIMIT;
        let rows = gathered.rows.entry(hash).or_default();
        if let Some(row) = rows.iter_mut().find(|row| row.reader == *reader && target.is(&row.target)) {
            row.count += 1;
            row.last = at;
            return false;
        }
        if full {
            // The database has not taken any for long: the memory has its limit, the ledger a gap.
            return false;
        }
        rows.push(Reads { reader: reader.clone(), target: target.to_owned(), count: 1, first: at, last: at });
        gathered.distinct += 1;
        gathered.distinct >= FLUSH_AT
    }

    fn count(&self) -> usize {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).distinct
    }

    /// The next rows to write. What is taken a step at a time stays safe when the writing future is
    /// dropped half-way.
    fn take(&self) -> Vec<Reads> {
        let mut gathered = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<u64> = gathered.rows.keys().take(CHUNK).copied().collect();
        let rows: Vec<Reads> = due.iter().filter_map(|hash| gathered.rows.remove(hash)).flatten().collect();
        gathered.distinct -= rows.len();
        rows
    }

    /// Puts back what could not be written.
    fn put_back(&self, reads: Vec<Reads>) {
        let mut gathered = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        for read in reads {
            let hash = gathered.hasher.hash_one((&read.reader, TargetRef::from(&read.target)));
            gathered.rows.entry(hash).or_default().push(read);
            gathered.distinct += 1;
        }
    }
}

/// A read target by reference, hashed and compared like the owned one.
#[derive(Hash)]
pub(super) enum TargetRef<'a> {
    Entry(&'a crate::XComKey, crate::Version),
    Sequence(&'a crate::SequenceKey),
}

impl TargetRef<'_> {
    fn is(&self, target: &ReadTarget) -> bool {
        match (self, target) {
            (Self::Entry(key, version), ReadTarget::Entry(k, v)) => version == v && **key == *k,
            (Self::Sequence(key), ReadTarget::Sequence(k)) => **key == *k,
            _ => false,
        }
    }

    fn to_owned(&self) -> ReadTarget {
        match self {
            Self::Entry(key, version) => ReadTarget::Entry((*key).clone(), *version),
            Self::Sequence(key) => ReadTarget::Sequence((*key).clone()),
        }
    }
}

impl<'a> From<&'a ReadTarget> for TargetRef<'a> {
    fn from(target: &'a ReadTarget) -> Self {
        match target {
            ReadTarget::Entry(key, version) => Self::Entry(key, *version),
            ReadTarget::Sequence(key) => Self::Sequence(key),
        }
    }
}

impl Engine {
    /// Notes reads: gathered, or written before this returns.
    pub(super) async fn note_reads<'a>(
        &self,
        reader: &Caller,
        targets: impl Iterator<Item = TargetRef<'a>>,
    ) -> Result<()> {
        let at = self.0.clock.now();
        match self.0.settings.ledger {
            Ledger::Off => Ok(()),
            Ledger::Batched => {
                let mut full = false;
                for target in targets {
                    full |= self.0.reads.add(reader, &target, at);
                }
                // A ledger that cannot be written now must not take the answer away; the reads stay
                // gathered, and whoever maintains the engine is told.
                if full {
                    drop(self.flush_reads().await);
                }
                Ok(())
            }
            Ledger::Strict => {
                let reads: Vec<Reads> = targets
                    .map(|target| Reads {
                        reader: reader.clone(),
                        target: target.to_owned(),
                        count: 1,
                        first: at,
                        last: at,
                    })
                    .collect();
                if reads.is_empty() { Ok(()) } else { self.0.db.note_reads(&reads).await }
            }
        }
    }

    /// Notes that a version was read by whoever was handed it without a pull, such as a task that was
    /// given an element of a list.
    ///
    /// # Errors
    /// When a strict ledger cannot be written.
    pub async fn note_read(
        &self,
        reader: &Caller,
        key: &crate::XComKey,
        version: crate::Version,
    ) -> Result<()> {
        self.note_reads(reader, std::iter::once(TargetRef::Entry(key, version))).await
    }

    /// How many reads are gathered and not yet written: distinct pairs of a reader and what it read.
    pub fn reads_waiting(&self) -> usize {
        self.0.reads.count()
    }

    /// Writes the gathered reads.
    ///
    /// # Errors
    /// When the database cannot be written; the reads stay gathered.
    pub async fn flush_reads(&self) -> Result<()> {
        loop {
            let reads = self.0.reads.take();
            if reads.is_empty() {
                break;
            }
            if let Err(error) = self.0.db.note_reads(&reads).await {
                self.0.reads.put_back(reads);
                return Err(error);
            }
        }
        Ok(())
    }
}
