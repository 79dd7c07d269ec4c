//! Whether there is an engine to serve with. A server is up before that, and says what it waits for.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use excom_core::{Clock, Error, ErrorKind};
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tower_service::Service as _;

use crate::access::Noted;
use crate::app::App;
use crate::auth::{Audience, Invalid, Keys, Tokens, bearer, no_token};
use crate::metrics;
use crate::refusal::{Refusal, document};

/// Where whoever opens the engine tells how far that is.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Door>);

#[derive(Debug)]
struct Door {
    standing: watch::Sender<Standing>,
    /// Whose tokens are good before it is open.
    watchers: OnceLock<Tokens>,
}

/// What is behind the door.
#[derive(Debug, Clone)]
enum Standing {
    /// Nothing yet, and why.
    Closed {
        code: &'static str,
        message: String,
        hints: Vec<String>,
    },
    Open(Router),
}

impl Readiness {
    pub(crate) fn new() -> Self {
        let opening = Error::new(ErrorKind::Unavailable, "the database is being opened");
        let (standing, _) = watch::channel(Standing::closed(&opening));
        Self(Arc::new(Door { standing, watchers: OnceLock::new() }))
    }

    /// Whoever has a token of these keys is told the metrics also before requests are served.
    pub fn watched_with(&self, keys: Keys, clock: Arc<dyn Clock>) {
        self.0.watchers.get_or_init(|| Tokens::new(keys, clock));
    }

    /// From now on requests are served.
    pub fn open(&self, app: &App) {
        self.0.standing.send_replace(Standing::Open(app.router()));
    }

    /// Requests are refused for this reason, until it is tried again.
    pub fn closed(&self, reason: &Error) {
        self.0.standing.send_replace(Standing::closed(reason));
    }

    /// What the app answers once there is one, and before that how it stands.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let standing = self.0.standing.borrow().clone();
        match (standing, request.uri().path()) {
            (Standing::Open(mut router), _) => router.call(request).await.into_response(),
            (Standing::Closed { .. }, LIVE) if matches!(*request.method(), Method::GET | Method::HEAD) => {
                Noted::route(&request, LIVE);
                live().await
            }
            (Standing::Closed { code, message, hints }, "/health/ready") => {
                not_ready(&[json!({"code": code, "message": message, "hints": hints})])
            }
            (Standing::Closed { .. }, metrics::ROUTE) if self.0.watchers.get().is_some() => {
                Noted::route(&request, metrics::ROUTE);
                self.metrics(request.headers()).await.into_response()
            }
            (Standing::Closed { code, message, .. }, _) => {
                Refusal::because(StatusCode::SERVICE_UNAVAILABLE, code, message).into_response()
            }
        }
    }

    /// What those who watch the server are told while there is no engine.
    async fn metrics(&self, head: &HeaderMap) -> Result<Response, Refusal> {
        if let Some(tokens) = self.0.watchers.get() {
            let token = bearer(head).ok_or_else(no_token)?;
            let (_, claims) = tokens.verify(&[Audience::Api], token).await?;
            claims.role.ok_or(Invalid::Role)?;
        }
        metrics::not_ready()
    }
}

impl Standing {
    fn closed(reason: &Error) -> Self {
        Self::Closed { code: reason.code(), message: reason.to_string(), hints: reason.hints().to_vec() }
    }
}

/// Where a process tells that it lives.
pub(crate) const LIVE: &str = "/health/live";

/// Answers as long as the process does anything at all.
pub(crate) async fn live() -> Response {
    document(StatusCode::OK, &json!({"status": "live"}))
}

/// The answer of `/health/ready` when pushes and pulls would not work.
pub(crate) fn not_ready(reasons: &[Json]) -> Response {
    document(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not ready", "reasons": reasons}))
}
