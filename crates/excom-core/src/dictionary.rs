//! Dictionaries: what the small values of a DAG have in common, so that each is stored much shorter.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

/// A dictionary that the metadata database compresses small values of a DAG with. It never changes, and is kept for
/// as long as the database: a value that was compressed with it can be read with nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dictionary {
    /// Its number, which is in every value that was compressed with it.
    pub id: u32,
    /// The DAG whose values it is for.
    pub dag_id: Arc<str>,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was trained.
    pub trained_at: Timestamp,
    /// What it saved when it was trained.
    pub gain: Gain,
}

/// What a dictionary saves, measured on values that it was not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gain {
    /// How many values it was measured on.
    pub samples: u32,
    /// Bytes that they take without the dictionary.
    pub before: u64,
    /// Bytes that they take with it.
    pub after: u64,
}

impl Gain {
    /// The least that a dictionary must save to be kept, in percent.
    pub const LEAST: u64 = 20;

    /// How many percent of the bytes it saves.
    ///
    /// ```
    /// use excom_core::dictionary::Gain;
    ///
    /// assert_eq!(Gain { samples: 100, before: 40_000, after: 10_000 }.percent(), 75);
    /// ```
    pub fn percent(&self) -> u64 {
        (self.before.saturating_sub(self.after) * 100).checked_div(self.before).unwrap_or(0)
    }
}

/// What became of training a dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Training {
    /// It is kept, and used from now on.
    Kept(Dictionary),
    /// It saves less than [`Gain::LEAST`], so it was not kept.
    NotWorth(Gain),
    /// The DAG has too few small values in the metadata database.
    TooFew {
        /// How many it has.
        found: u64,
        /// How many it takes.
        needed: u64,
    },
}
