//! What all routes share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::handler::Handler as _;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use excom_core::Engine;
use tokio::sync::Mutex;

use crate::auth::{Keys, Tokens};
use crate::connections::Connections;
use crate::gate::{Gate, pass};
use crate::health::LastLook;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::telemetry::Traces;
use crate::{execution, health, metrics, own, rest};

/// What routes are set to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The longest sequence that a task may push for others to be mapped over, as Airflow's `[core] max_map_length`.
    pub max_map_length: u64,
    /// The most bytes of a request's body, and of the values of an answer that has several.
    pub body_limit: u64,
    /// How long a body may take that is read whole before it is answered: it fills memory meanwhile.
    pub body_time: Duration,
    /// The most requests a second of one name in tokens; any number without.
    pub limit_requests: Option<u32>,
    /// The most bytes a second that one name in tokens sends and is sent; any number without.
    pub limit_bytes: Option<u64>,
    /// How long somebody may wait for XComs to come.
    pub longest_wait: Duration,
    /// The connections that tasks get.
    pub connections: Connections,
    /// Where the spans of requests go; requests have none without.
    pub traces: Option<Traces>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_map_length: 1024,
            body_limit: 64 << 20,
            body_time: Duration::from_secs(5 * 60),
            limit_requests: None,
            limit_bytes: None,
            longest_wait: Duration::from_secs(60),
            connections: Connections::default(),
            traces: None,
        }
    }
}

async fn nowhere() -> Refusal {
    Refusal::plain(StatusCode::NOT_FOUND, "Not Found")
}

/// A method that a route does not have.
pub(crate) async fn not_so() -> Refusal {
    Refusal::plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// The engine with everything that routes need beside it. Cheap to clone: each request does.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

/// What requests share.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "what a public type derefs to is public")]
pub struct Parts {
    pub(crate) engine: Engine,
    pub(crate) tokens: Tokens,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    pub(crate) last_look: LastLook,
    pub(crate) limits: Limits,
    pub(crate) own: own::Shared,
    /// Held by who looks whether a run is there that is triggered.
    pub(crate) triggering: Mutex<()>,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// An engine behind tokens that keys sign.
    pub fn new(engine: Engine, keys: Keys, options: Options) -> Self {
        let tokens = Tokens::new(keys, Arc::clone(engine.clock()));
        let limits = Limits::new(options.limit_requests, options.limit_bytes);
        let (metrics, own) = (Metrics::new(options.traces.as_ref()), own::Shared::new());
        metrics.watch(&engine);
        let last_look = LastLook::new();
        let triggering = Mutex::new(());
        Self(Arc::new(Parts { engine, tokens, options, metrics, last_look, limits, own, triggering }))
    }

    /// Whoever waits for XComs is answered at once, with what there is, from now on: the server is about to stop.
    pub fn end_waits(&self) {
        self.own.waits.end();
    }

    /// All routes.
    pub fn router(&self) -> Router {
        let open = || from_fn_with_state(Gate::open(self), pass);
        Router::new()
            .merge(execution::router(self))
            .nest("/api/v2", rest::router(self))
            .nest("/api/excom/v1", own::router(self))
            .merge(health::router(self))
            .merge(metrics::router(self))
            .fallback(nowhere.layer(open()))
            .method_not_allowed_fallback(not_so.layer(open()))
            .with_state(self.clone())
    }
}
