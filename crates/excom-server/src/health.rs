//! Whether the process lives, and whether pushes and pulls would work.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::app::App;
use crate::gate::{Gate, pass};
use crate::readiness::{LIVE, live, not_ready};
use crate::refusal::document;

pub(crate) fn router(app: &App) -> Router<App> {
    Router::new()
        .route(LIVE, get(live))
        .route("/health/ready", get(ready))
        .route_layer(from_fn_with_state(Gate::open(app), pass))
}

/// Whether pushes and pulls would work, or why not.
async fn ready(State(app): State<App>) -> Response {
    match app.engine.health().await {
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
