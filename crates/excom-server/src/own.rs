//! `/api/excom/v1`: Excom's own API, for people and programs.

mod instances;

use axum::Router;
use axum::routing::post;

use crate::app::App;

pub(crate) fn router() -> Router<App> {
    Router::new().route("/runs", post(instances::start_run)).route("/task-instances", post(instances::queue))
}
