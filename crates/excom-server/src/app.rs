//! What all routes share.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use excom_core::Engine;
use futures_util::FutureExt as _;

use crate::auth::{Keys, Tokens};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::{execution, health, metrics, own, rest};

/// What routes are set to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The longest sequence that a task may push for others to be mapped over, as Airflow's `[core] max_map_length`.
    pub max_map_length: u64,
    /// The most bytes of a request's body, and of the values of an answer that has several.
    pub body_limit: u64,
    /// The most requests a second of one name in tokens; any number without.
    pub limit_requests: Option<u32>,
    /// The most bytes a second that one name in tokens sends and is sent; any number without.
    pub limit_bytes: Option<u64>,
    /// How long somebody may wait for XComs to come.
    pub longest_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_map_length: 1024,
            body_limit: 64 << 20,
            limit_requests: None,
            limit_bytes: None,
            longest_wait: Duration::from_secs(60),
        }
    }
}

async fn nowhere() -> Refusal {
    Refusal::plain(StatusCode::NOT_FOUND, "Not Found")
}

async fn not_so() -> Refusal {
    Refusal::plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// Answers also what a mistake of ours has ended in the middle.
async fn answered(request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| {
        let message = "something went wrong that should not; the server's standard error tells what";
        Refusal::because(StatusCode::INTERNAL_SERVER_ERROR, "panic", message).into_response()
    })
}

/// The engine with everything that routes need beside it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    pub(crate) engine: Engine,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) options: Arc<Options>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) own: Arc<own::Shared>,
}

impl App {
    /// An engine behind tokens that keys sign.
    pub fn new(engine: Engine, keys: Keys, options: Options) -> Self {
        let tokens = Arc::new(Tokens::new(keys, Arc::clone(engine.clock())));
        let limits = Arc::new(Limits::new(options.limit_requests, options.limit_bytes));
        Self {
            engine,
            tokens,
            options: Arc::new(options),
            metrics: Arc::new(Metrics::new()),
            limits,
            own: Arc::new(own::Shared::new()),
        }
    }

    /// Whoever waits for XComs is answered at once, with what there is, from now on: the server is about to stop.
    pub fn end_waits(&self) {
        self.own.waits.end();
    }

    /// All routes.
    pub fn router(&self) -> Router {
        Router::new()
            .nest("/execution", execution::router(self))
            .nest("/api/v2", rest::router(self))
            .nest("/api/excom/v1", own::router(self))
            .merge(health::router())
            .merge(metrics::router(self))
            .fallback(nowhere)
            .method_not_allowed_fallback(not_so)
            .layer(from_fn(answered))
            .layer(from_fn_with_state(Arc::clone(&self.metrics), metrics::observe))
            // Bodies are bounded by who reads them.
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn mistake() -> StatusCode {
        panic!("a mistake, on purpose")
    }

    #[test]
    fn a_mistake_of_ours_is_answered() {
        let router: Router = Router::new().route("/", get(mistake)).layer(from_fn(answered));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(router.oneshot(Request::new(Body::empty()))).unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
