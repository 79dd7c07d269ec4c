//! Whether the process lives, and whether pushes and pulls would work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use excom_core::{Engine, Result};
use serde_json::json;
use tokio::time::{Duration, Instant, timeout};

use crate::app::App;
use crate::gate::{Gate, pass};
use crate::readiness::{LIVE, live, not_ready};
use crate::refusal::document;

/// How old what was last found may be before it is looked again, and how long that may take.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// What was last found, for who asks so often that it cannot be looked each time.
#[derive(Debug)]
pub(crate) struct LastLook {
    works: AtomicBool,
    at: Mutex<Option<Instant>>,
}

impl LastLook {
    /// That of an engine that was just opened, and so works.
    pub(crate) fn new() -> Self {
        Self { works: AtomicBool::new(true), at: Mutex::new(None) }
    }

    fn found(&self, works: bool) {
        self.works.store(works, Ordering::Relaxed);
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it is time to look; then it is whoever asks who does.
    fn is_due(&self) -> bool {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let due = at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if due {
            *at = Some(Instant::now());
        }
        due
    }
}

/// Whether pushes and pulls worked when it was last looked. When that is long ago it is looked again, beside: nobody waits, and
/// the next one is told.
pub(crate) fn worked(app: &App) -> bool {
    if app.last_look.is_due() {
        let app = app.clone();
        drop(tokio::spawn(async move {
            let works = matches!(timeout(LONGEST_LOOK, look(&app.engine)).await, Ok(Ok(())));
            app.last_look.found(works);
        }));
    }
    app.last_look.works.load(Ordering::Relaxed)
}

/// Asks the store and the database for little: what is wrong inside of them keeps nobody from pushing.
async fn look(engine: &Engine) -> Result<()> {
    engine.backend().check().await?;
    engine.db().mark("health").await.map(drop)
}

pub(crate) fn router(app: &App) -> Router<App> {
    Router::new()
        .route(LIVE, get(live))
        .route("/health/ready", get(ready))
        .route_layer(from_fn_with_state(Gate::open(app), pass))
}

/// Whether pushes and pulls would work, or why not.
async fn ready(State(app): State<App>) -> Response {
    let health = app.engine.health().await;
    app.last_look.found(health.is_ok());
    match health {
        Ok(health) if health.problems.is_empty() => document(
            StatusCode::OK,
            &json!({"status": "ready", "database": health.identity, "backend": app.engine.backend().to_string()}),
        ),
        Ok(health) => {
            let reasons: Vec<_> = health
                .problems
                .iter()
                .map(|problem| json!({"code": "problem", "message": problem}))
                .collect();
            document(
                StatusCode::OK,
                &json!({"status": "ready", "database": health.identity, "problems": reasons}),
            )
        }
        Err(error) => {
            not_ready(&json!({"code": error.code(), "message": error.to_string(), "hints": error.hints()}))
        }
    }
}
