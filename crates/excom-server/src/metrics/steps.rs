//! How long the database and the stores take, and how much waits for them now.

use std::any::Any;
use std::sync::Arc;

use excom_core::engine::{Step, Waiting, Watch};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::{Labels, SECONDS};
use crate::telemetry;

/// Steps of one kind.
#[derive(Debug, Clone)]
struct Kind {
    seconds: Histogram,
    waiting: Gauge,
}

/// Steps by their labels.
#[derive(Debug)]
struct Kinds<const N: usize> {
    seconds: Family<Labels<N>, Histogram, fn() -> Histogram>,
    waiting: Family<Labels<N>, Gauge>,
}

impl<const N: usize> Kinds<N> {
    /// Those of the database, or of stores.
    fn new(registry: &mut Registry, of: &str, labels: &str) -> Self {
        let kinds = Self { seconds: Family::new_with_constructor(SECONDS), waiting: Family::default() };
        registry.register_with_unit(
            format!("{of}_duration"),
            format!("Time from asking the {of} to its answer, by {labels}"),
            Unit::Seconds,
            kinds.seconds.clone(),
        );
        registry.register(
            format!("{of}_waiting"),
            format!("What waits for an answer of the {of}, by {labels}"),
            kinds.waiting.clone(),
        );
        kinds
    }

    fn of(&self, labels: &Labels<N>) -> Kind {
        let seconds = self.seconds.get_or_create_owned(labels);
        Kind { seconds, waiting: self.waiting.get_or_create_owned(labels) }
    }
}

/// What an engine waits for, measured, and as spans where requests have them.
#[derive(Debug)]
pub(super) struct Steps {
    entries: Kind,
    produced: Kind,
    push: Kind,
    stores: Kinds<2>,
    traced: bool,
}

/// A step that is under way.
struct UnderWay {
    kind: Kind,
    since: Instant,
    /// Ends with it.
    _span: Option<Arc<dyn Any + Send + Sync>>,
}

impl Steps {
    pub(super) fn new(registry: &mut Registry, traced: bool) -> Self {
        let database = Kinds::new(registry, "database", "step");
        let [entries, produced, push] =
            ["entries", "produced", "push"].map(|step| database.of(&[("step", step.to_owned())]));
        Self { entries, produced, push, stores: Kinds::new(registry, "store", "store and step"), traced }
    }

    fn of_store(&self, store: &str, step: &str) -> Kind {
        self.stores.of(&[("store", store.to_owned()), ("step", step.to_owned())])
    }
}

impl Watch for Steps {
    fn begins(&self, step: Step<'_>) -> Option<Waiting> {
        let kind = match step {
            Step::Entries => self.entries.clone(),
            Step::Produced => self.produced.clone(),
            Step::Push => self.push.clone(),
            Step::Read(store) => self.of_store(store, "read"),
            Step::Write(store) => self.of_store(store, "write"),
            _ => return None,
        };
        kind.waiting.inc();
        let span = if self.traced { telemetry::Steps.begins(step) } else { None };
        Some(Arc::new(UnderWay { kind, since: Instant::now(), _span: span }))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.kind.waiting.dec();
        self.kind.seconds.observe(self.since.elapsed().as_secs_f64());
    }
}
