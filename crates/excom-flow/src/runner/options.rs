//! What one run is given.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::cancel::Cancellation;
use crate::params::Given;

/// What one run is given.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// The run's id; `manual__` and the time unless given.
    pub run_id: Option<String>,
    /// Parameters by name.
    pub params: BTreeMap<String, Given>,
    /// The date that the run is for. Without one, templates have no `ds`, `ts` and `logical_date`.
    pub logical_date: Option<Timestamp>,
    /// Tells the run to stop.
    pub cancellation: Cancellation,
}

impl RunOptions {
    /// A run with an id of its own, default parameters and no logical date.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a run id.
    #[must_use]
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = Some(run_id.into());
        self
    }

    /// The same with a parameter: text as from a command line, or a value.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Given>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// The same for a date.
    #[must_use]
    pub fn logical_date(mut self, date: Timestamp) -> Self {
        self.logical_date = Some(date);
        self
    }

    /// The same with a way to stop it.
    #[must_use]
    pub fn cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }
}
