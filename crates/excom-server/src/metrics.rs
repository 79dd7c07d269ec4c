//! What Prometheus is told: whether pushes and pulls would work, requests by route, how long they took, what pushes and pulls
//! were answered, how long the database and the stores take, what waits, and what became of spans.

mod steps;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use excom_core::engine::{Opened, Receipt};
use excom_core::{Answer, Engine, Result as EngineResult};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::app::App;
use crate::auth::{Asking, EVERYBODY, Role};
use crate::gate::{Gate, pass};
use crate::health::worked;
use crate::refusal::Refusal;
use crate::telemetry::{self, Traces};
use steps::Steps;

/// Where they are told.
pub(crate) const ROUTE: &str = "/metrics";

/// The content type of OpenMetrics' text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, String); N];

/// Times from a tenth of a millisecond to somewhat more than a minute.
const SECONDS: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0001, 3.0, 13));

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    health: Health,
    requests: Family<Labels<3>, Counter>,
    seconds: Family<Labels<2>, Histogram, fn() -> Histogram>,
    under_way: Gauge,
    pushes: Family<Labels<1>, Counter>,
    pushed: Counter,
    answers: Family<Labels<1>, Counter>,
    pulled: Counter,
    waits: Gauge,
    reads_waiting: Gauge,
    spans_waiting: Option<Gauge>,
    steps: Arc<Steps>,
}

/// Whether pushes and pulls would work, and which part keeps them from it.
#[derive(Debug, Default)]
struct Health {
    ready: Gauge,
    database: Gauge,
    store: Gauge,
}

/// A request that is under way, until its answer begins or its client has gone.
pub(crate) struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(crate) fn new(traces: Option<&Traces>) -> Self {
        let (mut registry, health) = watched();
        let requests = Family::<Labels<3>, Counter>::default();
        let seconds = Family::new_with_constructor(SECONDS);
        registry.register("requests", "Requests, by route, method and status", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to the head of its answer, by route and method",
            Unit::Seconds,
            seconds.clone(),
        );
        let [under_way, waits, reads_waiting] = [
            ("requests_under_way", "Requests whose answer has not begun"),
            ("waits", "XComs and runs that somebody waits for"),
            ("reads_waiting", "Reads that are not in the ledger yet"),
        ]
        .map(|(name, what)| {
            let gauge = Gauge::default();
            registry.register(name, what, gauge.clone());
            gauge
        });
        let [pushes, answers] = [
            ("pushes", "Pushes of single XComs, by what became of them"),
            ("answers", "Pulls of single XComs, by what they were answered"),
        ]
        .map(|(name, what)| {
            let counts = Family::<Labels<1>, Counter>::default();
            registry.register(name, what, counts.clone());
            counts
        });
        let [pushed, pulled] =
            [("pushed", "Size of what was pushed"), ("pulled", "Size of what pulls were answered")].map(
                |(name, what)| {
                    let bytes = Counter::default();
                    registry.register_with_unit(name, what, Unit::Bytes, bytes.clone());
                    bytes
                },
            );
        let steps = Arc::new(Steps::new(&mut registry, traces.is_some()));
        let spans_waiting = traces.map(|traces| {
            let waiting = Gauge::default();
            registry.register("spans", "Spans of requests, by what became of them", traces.counts());
            registry.register("spans_waiting", "Spans that wait for the collector", waiting.clone());
            waiting
        });
        Self {
            registry,
            health,
            requests,
            seconds,
            under_way,
            pushes,
            pushed,
            answers,
            pulled,
            waits,
            reads_waiting,
            spans_waiting,
            steps,
        }
    }

    /// Measures what an engine waits for. One that has several apps is measured by the first.
    pub(crate) fn watch(&self, engine: &Engine) {
        engine.watch(self.steps.clone());
    }

    /// A request has come.
    pub(crate) fn begun(&self) -> UnderWay {
        self.under_way.inc();
        UnderWay(self.under_way.clone())
    }

    /// Counts a request.
    pub(crate) fn observe(&self, route: &str, method: &Method, begun: Instant, response: &Response) {
        let (route, method) = (route.to_owned(), known(method).to_owned());
        let status = response.status().as_str().to_owned();
        let seconds = [("route", route.clone()), ("method", method.clone())];
        self.seconds.get_or_create(&seconds).observe(begun.elapsed().as_secs_f64());
        self.requests.get_or_create(&[("route", route), ("method", method), ("status", status)]).inc();
    }

    /// Counts what became of a push.
    pub(crate) fn pushed(&self, outcome: EngineResult<Receipt>) -> EngineResult<Receipt> {
        let told = match &outcome {
            Ok(receipt) if receipt.already => "already",
            Ok(receipt) => {
                self.pushed.inc_by(receipt.size);
                "written"
            }
            Err(error) => error.code(),
        };
        self.pushes.get_or_create(&[("outcome", told.to_owned())]).inc();
        outcome
    }

    /// Counts what a pull of one XCom was answered.
    pub(crate) fn answered(&self, answer: &Answer) {
        self.counted(answer.code(), answer.found().map_or(0, |found| found.value.size()));
    }

    /// Counts a value that is answered as it comes.
    pub(crate) fn opened(&self, opened: &Opened) {
        self.counted("found", opened.size);
    }

    fn counted(&self, code: &'static str, bytes: u64) {
        telemetry::answered(code);
        self.answers.get_or_create(&[("answer", code.to_owned())]).inc();
        self.pulled.inc_by(bytes);
    }
}

/// A method's name. Anybody may make up others, and each would be counted by itself for ever.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => method.as_str(),
        _ => "other",
    }
}

pub(crate) fn router(app: &App) -> Router<App> {
    let gate = Gate::for_tokens(app, &EVERYBODY);
    Router::new().route(ROUTE, get(tell)).route_layer(from_fn_with_state(gate, pass))
}

/// All counts, for whoever may look.
async fn tell(State(app): State<App>, asking: Asking) -> Result<Response, Refusal> {
    asking.at_least(Role::Read)?;
    let (metrics, worked) = (&app.metrics, worked(&app));
    metrics.health.ready.set((worked.database && worked.store).into());
    metrics.health.database.set(worked.database.into());
    metrics.health.store.set(worked.store.into());
    metrics.waits.set(signed(app.own.waits.count()));
    metrics.reads_waiting.set(signed(app.engine.reads_waiting()));
    if let (Some(waiting), Some(traces)) = (&metrics.spans_waiting, &app.options.traces) {
        waiting.set(signed(traces.pending()));
    }
    text(&metrics.registry)
}

/// A count as gauges have it.
fn signed(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// What is told before there is an engine: that pushes and pulls do not work.
pub(crate) fn not_ready() -> Result<Response, Refusal> {
    text(&watched().0)
}

/// What is known of the engine as a whole.
fn watched() -> (Registry, Health) {
    let (mut registry, health) = (Registry::with_prefix("excom"), Health::default());
    for (name, what, gauge) in [
        ("ready", "Whether pushes and pulls would work, as /health/ready tells", &health.ready),
        ("database_ready", "Whether the metadata database answers", &health.database),
        ("store_ready", "Whether the selected backend can keep and give back values", &health.store),
    ] {
        registry.register(name, what, gauge.clone());
    }
    (registry, health)
}

fn text(registry: &Registry) -> Result<Response, Refusal> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => {
            Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS))], text).into_response())
        }
        Err(_) => Err(Refusal::plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written")),
    }
}
