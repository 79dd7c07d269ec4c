//! `/execution`: Airflow's Task Execution API, for its workers.

mod dag_runs;
mod instances;
mod variables;
mod version;
mod xcoms;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::app::App;
use crate::auth::{Issued, Scope, Task};
use crate::refusal::{Refusal, document};
use crate::request::whole;

/// A newer token for the calls to come.
const REFRESHED: HeaderName = HeaderName::from_static("refreshed-api-token");

/// What ties a request to its answer in both logs.
const CORRELATION: HeaderName = HeaderName::from_static("correlation-id");

pub(crate) fn router(app: &App) -> Router<App> {
    let guarded = Router::new()
        .nest("/xcoms", xcoms::router())
        .nest("/task-instances", instances::router())
        .nest("/variables", variables::router())
        .nest("/dag-runs", dag_runs::router())
        .route("/connections/{*id}", get(connection))
        .route_layer(from_fn_with_state(app.clone(), whole))
        .route_layer(from_fn_with_state(app.clone(), guard));
    Router::new()
        .route("/health", get(healthy))
        .route("/health/ping", get(ping))
        .merge(guarded)
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn(version::check))
        .layer(from_fn(correlate))
}

/// Lets through whoever has the good token of a task, and gives a newer one for it in time.
async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let task = Task::of(&app, request.headers())?;
    request.extensions_mut().insert(task.clone());
    let mut answer = next.run(request).await;
    if task.scope == Scope::Execution && !answer.headers().contains_key(REFRESHED) {
        let newer = app.tokens.refreshed(&task.claims)?;
        newer.into_iter().for_each(|newer| refresh(&mut answer, &newer));
    }
    Ok(answer)
}

/// Gives a newer token with an answer.
fn refresh(answer: &mut Response, token: &Issued) {
    if let Ok(mut value) = HeaderValue::try_from(token.secret()) {
        value.set_sensitive(true);
        answer.headers_mut().insert(REFRESHED, value);
    }
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
async fn connection(axum::extract::Path(id): axum::extract::Path<String>) -> Refusal {
    Refusal::not_found(format!("Connection with ID {id} not found"))
}

async fn nowhere() -> Refusal {
    Refusal::plain(StatusCode::NOT_FOUND, "Not Found")
}

async fn not_so() -> Response {
    Refusal::plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed").into_response()
}
