//! What Prometheus is told: whether pushes and pulls would work, requests by route, how long they took, what pulls were
//! answered, and what became of spans.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use excom_core::Answer;
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

/// Where they are told.
pub(crate) const ROUTE: &str = "/metrics";

/// The content type of OpenMetrics' text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, String); N];

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    ready: Gauge,
    requests: Family<Labels<3>, Counter>,
    seconds: Family<Labels<2>, Histogram, fn() -> Histogram>,
    answers: Family<Labels<1>, Counter>,
}

impl Metrics {
    pub(crate) fn new(traces: Option<&Traces>) -> Self {
        let (mut registry, ready) = watched();
        let requests = Family::<Labels<3>, Counter>::default();
        // From a tenth of a millisecond to somewhat more than a minute.
        let seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 3.0, 13)));
        let answers = Family::<Labels<1>, Counter>::default();
        registry.register("requests", "Requests, by route, method and status", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to the head of its answer, by route and method",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register("answers", "Pulls of single XComs, by what they were answered", answers.clone());
        if let Some(traces) = traces {
            registry.register("spans", "Spans of requests, by what became of them", traces.counts());
        }
        Self { registry, ready, requests, seconds, answers }
    }

    /// Counts a request.
    pub(crate) fn observe(&self, route: &str, method: &Method, begun: Instant, response: &Response) {
        let (route, method) = (route.to_owned(), known(method).to_owned());
        let status = response.status().as_str().to_owned();
        let seconds = [("route", route.clone()), ("method", method.clone())];
        self.seconds.get_or_create(&seconds).observe(begun.elapsed().as_secs_f64());
        self.requests.get_or_create(&[("route", route), ("method", method), ("status", status)]).inc();
    }

    /// Counts what a pull of one XCom was answered.
    pub(crate) fn answered(&self, answer: &Answer) {
        self.counted(answer.code());
    }

    /// Counts a value that is answered as it comes.
    pub(crate) fn opened(&self) {
        self.counted("found");
    }

    fn counted(&self, code: &'static str) {
        telemetry::answered(code);
        self.answers.get_or_create(&[("answer", code.to_owned())]).inc();
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
    app.metrics.ready.set(worked(&app).into());
    text(&app.metrics.registry)
}

/// What is told before there is an engine: that pushes and pulls do not work.
pub(crate) fn not_ready() -> Result<Response, Refusal> {
    text(&watched().0)
}

/// What is known of the engine as a whole.
fn watched() -> (Registry, Gauge) {
    let (mut registry, ready) = (Registry::with_prefix("excom"), Gauge::default());
    registry.register("ready", "Whether pushes and pulls would work, as /health/ready tells", ready.clone());
    (registry, ready)
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
