//! `/execution`: Airflow's Task Execution API, for its workers.

mod assets;
mod connections;
pub(crate) mod dag_runs;
mod dags;
mod elsewhere;
mod found;
pub(crate) mod hitl;
mod instances;
pub(crate) mod notes;
mod previous;
pub(crate) mod triggered;
mod variables;
mod version;
mod xcoms;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

pub(crate) use self::version::Spoken;
use crate::app::App;
use crate::auth::Audience;
use crate::gate::{Gate, pass};
use crate::refusal::document;

pub(crate) fn router(app: &App) -> Router<App> {
    let guarded = Router::new()
        .nest("/task-instances", instances::router())
        .merge(variables::router())
        .nest("/dag-runs", dag_runs::router())
        .nest("/task-reschedules", notes::reschedules())
        .nest("/store/ti", notes::store())
        .nest("/hitlDetails", hitl::router())
        .merge(dags::router())
        .merge(assets::router())
        .merge(elsewhere::router())
        .merge(connections::router());
    let open = Router::new().route("/health", get(healthy)).route("/health/ping", get(ping));
    let gate = || Gate::for_tokens(app, &[Audience::Task]).for_workers();
    Router::new()
        .nest("/execution", guarded.route_layer(from_fn_with_state(gate(), pass)))
        .nest("/execution", open.route_layer(from_fn_with_state(Gate::open(app).for_workers(), pass)))
        // Most requests go there, and what is nested takes each path apart twice.
        .merge(xcoms::router().route_layer(from_fn_with_state(gate(), pass)))
}

async fn healthy() -> Response {
    document(StatusCode::OK, &json!({"status": "healthy"}))
}

async fn ping() -> Response {
    document(StatusCode::OK, &json!({"ok": [], "failing": {}}))
}
