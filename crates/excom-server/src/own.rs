//! `/api/excom/v1`: Excom's own API, for people, programs and tasks.

mod answers;
mod instances;
mod pull;
mod values;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::app::App;
use crate::auth::enter;
use crate::request::whole;

pub(crate) fn router(app: &App) -> Router<App> {
    // A value of any size is streamed; the engine knows how large one may be.
    let values = get(values::read).put(values::write).delete(values::clear);
    Router::new()
        .route("/runs", post(instances::start_run).patch(instances::end_run))
        .route("/task-instances", post(instances::queue))
        .route("/task-instances/{dag_id}/{run_id}/{task_id}/{map_index}", get(instances::show))
        .route("/pull", post(pull::pull))
        .route("/history/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}", get(values::history))
        .route_layer(from_fn_with_state(app.clone(), whole))
        .route("/values/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}", values)
        .route_layer(from_fn_with_state(app.clone(), enter))
}
