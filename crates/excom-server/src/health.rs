//! Whether the process lives, and whether it can serve.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::app::App;
use crate::refusal::document;

pub(crate) fn router() -> Router<App> {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready))
}

/// Answers as long as the process does anything at all.
async fn live() -> Response {
    document(StatusCode::OK, &json!({"status": "live"}))
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
            let reason = json!({"code": error.code(), "message": error.to_string(), "hints": error.hints()});
            document(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not ready", "reasons": [reason]}))
        }
    }
}
