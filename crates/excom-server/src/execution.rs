//! `/execution`: Airflow's Task Execution API, for its workers.

pub(crate) mod dag_runs;
mod instances;
pub(crate) mod notes;
mod variables;
mod version;
mod xcoms;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::access::CORRELATION;
use crate::app::App;
use crate::auth::enter_task;
use crate::refusal::{Refusal, document};
use crate::request::{Path, whole};

pub(crate) fn router(app: &App) -> Router<App> {
    let guarded = Router::new()
        .nest("/xcoms", xcoms::router())
        .nest("/task-instances", instances::router())
        .merge(variables::router())
        .nest("/dag-runs", dag_runs::router())
        .nest("/task-reschedules", notes::reschedules())
        .nest("/store/ti", notes::store())
        .route("/connections/{*id}", get(connection))
        .route_layer(from_fn_with_state(app.clone(), whole))
        .route_layer(from_fn_with_state(app.clone(), enter_task));
    Router::new()
        .route("/health", get(healthy))
        .route("/health/ping", get(ping))
        .merge(guarded)
        .layer(from_fn(version::check))
        .layer(from_fn(correlate))
}

async fn correlate(request: Request, next: Next) -> Response {
    let id = request.headers().get(CORRELATION).cloned();
    let mut answer = next.run(request).await;
    id.into_iter().for_each(|id| drop(answer.headers_mut().insert(CORRELATION, id)));
    answer
}

async fn healthy() -> Response {
    document(StatusCode::OK, &json!({"status": "healthy"}))
}

async fn ping() -> Response {
    document(StatusCode::OK, &json!({"ok": [], "failing": {}}))
}

/// Connections are the workers' own: in their environment, or a secrets backend.
async fn connection(Path(id): Path<String>) -> Refusal {
    Refusal::not_found(format!("Connection with ID {id} not found"))
}
