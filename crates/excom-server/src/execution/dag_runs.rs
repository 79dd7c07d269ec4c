//! `/execution/dag-runs`: what a task may know of runs.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use excom_airflow::execution::{DagRun, run_type};
use excom_core::db::{RunFilter, RunInfo};
use serde_json::json;
use serde_json::value::RawValue;

use crate::app::App;
use crate::auth::Running;
use crate::refusal::{Refusal, document};
use crate::request::Params;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/count", get(count))
        .route("/{dag_id}/{run_id}", get(one))
        .route("/{dag_id}/{run_id}/state", get(state))
}

/// A run as workers see it.
///
/// # Errors
/// 404 when it is not known.
pub(super) async fn seen_by_workers(app: &App, dag_id: &str, run_id: &str) -> Result<DagRun, Refusal> {
    let Some(info) = app.engine.db().run_info(dag_id, run_id).await? else {
        return Err(Refusal::not_found(format!("DAG run '{run_id}' of '{dag_id}' not found")));
    };
    let conf = info.run.conf.as_ref().and_then(|conf| RawValue::from_string(conf.as_str().to_owned()).ok());
    let RunInfo { run, state, started_at, ended_at } = info;
    Ok(DagRun {
        run_type: run_type(&run.run_id),
        dag_id: run.dag_id,
        run_id: run.run_id,
        logical_date: run.logical_date,
        data_interval_start: run.logical_date,
        data_interval_end: run.logical_date,
        run_after: run.run_after,
        start_date: started_at,
        end_date: ended_at,
        clear_number: 0,
        state: state.map_or("running", |state| state.name()),
        conf: conf.or_else(|| RawValue::from_string("{}".to_owned()).ok()),
        triggering_user_name: None,
        consumed_asset_events: [],
        partition_key: None,
        partition_date: None,
        note: None,
        team_name: None,
    })
}

async fn one(
    State(app): State<App>,
    _: Running,
    Path((dag, run)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    Ok(document(StatusCode::OK, &seen_by_workers(&app, &dag, &run).await?))
}

async fn state(
    State(app): State<App>,
    _: Running,
    Path((dag, run)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let run = seen_by_workers(&app, &dag, &run).await?;
    Ok(document(StatusCode::OK, &json!({"state": run.state})))
}

/// How many runs of a DAG are in some states.
async fn count(State(app): State<App>, _: Running, params: Params) -> Result<Response, Refusal> {
    const PAGE: u32 = 1000;
    let (states, runs): (Vec<&str>, Vec<&str>) =
        (params.all("states").collect(), params.all("run_ids").collect());
    let filter = RunFilter { dag_id: params.text("dag_id").map(Into::into), state: None };
    let (mut count, mut before) = (0_u64, None);
    loop {
        let page = app.engine.db().runs(&filter, before.as_ref(), PAGE).await?;
        let counted = page.iter().filter(|info| {
            let state = info.state.map_or("queued", |state| state.name());
            (states.is_empty() || states.contains(&state))
                && (runs.is_empty() || runs.contains(&&*info.run.run_id))
        });
        count += counted.count() as u64;
        match page.last() {
            Some(last) if page.len() == PAGE as usize => before = Some(last.run.clone()),
            _ => return Ok(document(StatusCode::OK, &count)),
        }
    }
}
