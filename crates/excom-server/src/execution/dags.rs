//! `/execution/dags`: what a task may know of a DAG. Excom knows only of its runs and versions; all else that Airflow tells is
//! as of a DAG that nobody has set to anything.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use excom_core::db::RunFilter;
use serde_json::json;

use crate::app::App;
use crate::auth::Running;
use crate::refusal::{Refusal, document};
use crate::request::Path;

pub(super) fn router() -> Router<App> {
    Router::new().route("/dags/{dag_id}", get(one))
}

async fn one(State(app): State<App>, _: Running, Path(dag_id): Path<String>) -> Result<Response, Refusal> {
    let db = app.engine.db();
    let filter = RunFilter { dag_id: Some(dag_id.as_str().into()), state: None };
    if db.runs(&filter, None, 1).await?.is_empty() && db.dag_versions(&dag_id, 1).await?.is_empty() {
        return Err(Refusal::not_found(format!("no run of the DAG `{dag_id}` is known, and no version")));
    }
    // Whether it is paused only Airflow's own server knows, and it must not be guessed.
    if db.is_airflows() {
        let message = format!("only Airflow's own server tells of the DAG `{dag_id}`");
        return Err(Refusal::because(StatusCode::BAD_REQUEST, "not_kept_here", message));
    }
    let told = json!({
        "dag_id": dag_id, "is_paused": false, "bundle_name": null, "bundle_version": null, "relative_fileloc": null,
        "owners": null, "tags": [], "next_dagrun": null,
    });
    Ok(document(StatusCode::OK, &told))
}
