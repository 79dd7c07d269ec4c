//! `/execution/connections`: where tasks reach something, and as whom.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use crate::app::{App, not_so};
use crate::auth::Running;
use crate::refusal::{Refusal, document};
use crate::request::Path;

pub(super) fn router() -> Router<App> {
    Router::new().route("/connections/{*id}", get(read).head(not_so))
}

/// Any task that runs may have any connection, as in Airflow.
async fn read(
    State(app): State<App>,
    Running(_): Running,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    match app.options.connections.get(&id, &**app.engine.db()).await? {
        Some(found) => Ok(document(StatusCode::OK, &found.answer(&id))),
        None => Err(Refusal::not_found(format!("Connection with ID {id} not found"))),
    }
}
