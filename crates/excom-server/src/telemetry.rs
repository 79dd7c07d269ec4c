//! Traces: a span for each request, as part of the trace that its sender names, sent to an OpenTelemetry collector. A
//! request never waits for that: what there is no room for is dropped and counted. Spans have names of XComs and what
//! became of the request; never values, tokens or parameters.
//!
//! OTLP is written here, as JSON: OpenTelemetry's own crates would read the process's environment by themselves, keep
//! for themselves how many spans they drop, and bring a dozen more crates, some of them in a second version.

mod collector;
mod context;
mod export;
mod otlp;
mod sampler;
mod span;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use collector::Collector;
pub(crate) use span::{Steps, answered, entered};

use export::Exporter;
use otlp::Ended;

/// How many troubles wait to be told; there is one a minute.
const TROUBLES: usize = 4;

/// How spans are counted, by what became of them.
pub(crate) type Counts = Family<[(&'static str, String); 1], Counter>;

/// Where the spans of requests go. Clones are the same.
#[derive(Clone)]
pub struct Traces(Arc<Shared>);

struct Shared {
    collector: Collector,
    queue: mpsc::Sender<Ended>,
    closing: watch::Sender<bool>,
    exporter: Mutex<Option<JoinHandle<()>>>,
    troubles: tokio::sync::Mutex<mpsc::Receiver<Error>>,
    tally: Arc<Tally>,
}

/// What became of spans.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    /// Those that wait, or are on their way.
    pending: AtomicU64,
}

impl Tally {
    fn count(&self, outcome: &'static str, spans: u64) {
        self.counts.get_or_create(&[("outcome", outcome.to_owned())]).inc_by(spans);
    }

    fn of(&self, outcome: &'static str) -> u64 {
        self.counts.get_or_create(&[("outcome", outcome.to_owned())]).get()
    }

    /// Those that no collector will ever have.
    fn lost(&self) -> u64 {
        self.of(DROPPED) + self.of(FAILED)
    }
}

/// The collector has it.
const SENT: &str = "sent";

/// There was no room for it.
const DROPPED: &str = "dropped";

/// The collector did not take it.
const FAILED: &str = "failed";

impl Traces {
    /// Spans of requests go to a collector, from a task of the runtime in which this is called.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when there can be no client for it.
    pub fn to(collector: Collector) -> Result<Self> {
        let (queue, waiting) = mpsc::channel(collector.queue);
        let (closing, closes) = watch::channel(false);
        let (told, troubles) = mpsc::channel(TROUBLES);
        let tally = Arc::<Tally>::default();
        [SENT, DROPPED, FAILED].iter().for_each(|outcome| tally.count(outcome, 0));
        let exporter = Exporter::new(collector.clone(), waiting, closes, told, Arc::clone(&tally))?;
        let exporter = Mutex::new(Some(tokio::spawn(exporter.run())));
        let troubles = tokio::sync::Mutex::new(troubles);
        Ok(Self(Arc::new(Shared { collector, queue, closing, exporter, troubles, tally })))
    }

    /// Tells, at most once a minute, that spans are lost, and why.
    pub async fn keep(&self, warn: impl Fn(&Error)) {
        let mut troubles = self.0.troubles.lock().await;
        while let Some(trouble) = troubles.recv().await {
            warn(&trouble);
        }
    }

    /// Sends what there is. None is after that.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the collector has not taken all of it within this time.
    pub async fn close(&self, within: Duration) -> Result<()> {
        let lost = self.0.tally.lost();
        self.0.closing.send_replace(true);
        let exporter = self.0.exporter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut exporter) = exporter
            && !matches!(timeout(within, &mut exporter).await, Ok(Ok(())))
        {
            exporter.abort();
            self.0.tally.count(FAILED, self.0.tally.pending.swap(0, Ordering::Relaxed));
        }
        match self.0.tally.lost() - lost {
            0 => Ok(()),
            lost => {
                let message =
                    format!("spans of the last requests did not reach {}: {lost}", self.0.collector);
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Whether any request may have a span.
    pub(crate) fn are_on(&self) -> bool {
        !self.0.collector.sampler.is_off()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.tally.counts.clone()
    }

    /// How many wait, or are on their way.
    pub(crate) fn pending(&self) -> u64 {
        self.0.tally.pending.load(Ordering::Relaxed)
    }

    /// Takes a span that has ended, unless too many wait.
    fn take(&self, ended: Ended) {
        let tally = &self.0.tally;
        tally.pending.fetch_add(1, Ordering::Relaxed);
        if self.0.queue.try_send(ended).is_err() {
            tally.pending.fetch_sub(1, Ordering::Relaxed);
            tally.count(DROPPED, 1);
        }
    }
}

impl PartialEq for Traces {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Traces {}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traces({})", self.0.collector)
    }
}
