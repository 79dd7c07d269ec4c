//! `/execution/dag-runs`: what a task may know of runs.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use excom_airflow::execution::{DagRun, run_type};
use excom_core::Value;
use excom_core::db::{RunFilter, RunInfo, RunState};
use serde_json::json;
use serde_json::value::RawValue;

use super::version::Spoken;
use super::{previous, triggered};
use crate::app::App;
use crate::auth::Running;
use crate::refusal::{Refusal, document};
use crate::request::{Params, Path};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/count", get(count))
        .route("/previous", get(previous::run))
        .route("/{dag_id}/{run_id}", get(one).post(triggered::trigger))
        .route("/{dag_id}/{run_id}/clear", post(triggered::clear))
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
    Ok(seen(info))
}

/// The same of one that is known.
pub(super) fn seen(info: RunInfo) -> DagRun {
    let conf = info.run.conf.as_ref().and_then(|conf| RawValue::from_string(conf.as_str().to_owned()).ok());
    let state = standing(&info);
    let RunInfo { run, started_at, ended_at, .. } = info;
    DagRun {
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
        state,
        conf: conf.or_else(|| RawValue::from_string("{}".to_owned()).ok()),
        triggering_user_name: None,
        consumed_asset_events: [],
        partition_key: None,
        partition_date: None,
        note: None,
        team_name: None,
    }
}

async fn one(
    State(app): State<App>,
    _: Running,
    spoken: Spoken,
    Path((dag, run)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Refusal> {
    if run == "previous" && spoken.0.name() < previous::OWN_ROUTE {
        return previous::before(&app, spoken, &dag, &params).await;
    }
    let Spoken(version) = spoken;
    Ok(document(StatusCode::OK, &version.of(&seen_by_workers(&app, &dag, &run).await?)))
}

async fn state(
    State(app): State<App>,
    _: Running,
    Path((dag, run)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let run = seen_by_workers(&app, &dag, &run).await?;
    Ok(document(StatusCode::OK, &json!({"state": run.state})))
}

/// How a run stands in Airflow's words. One that was registered and not started waits in a queue.
pub(super) fn standing(info: &RunInfo) -> &'static str {
    if triggered::is_registered(info) && info.state.is_none() { "queued" } else { name(info.state) }
}

/// A run's state in Airflow's words.
pub(crate) fn name(state: Option<RunState>) -> &'static str {
    match state {
        // One that is known only because something was pushed into it.
        None | Some(RunState::Running) => "running",
        Some(RunState::Success) => "success",
        Some(RunState::Failed | RunState::Cancelled) => "failed",
    }
}

/// The runs of a DAG that `run_ids`, `run_id` and `logical_dates` choose; all, when none of them is there.
///
/// # Errors
/// 422 without a DAG, or with a date that is none.
pub(super) async fn runs(app: &App, params: &Params) -> Result<Vec<RunInfo>, Refusal> {
    const PAGE: u32 = 100;
    let Some(dag_id) = params.text("dag_id") else {
        return Err(Refusal::unprocessable("missing", &["query", "dag_id"], "Field required", ()));
    };
    let named: Vec<&str> = params.all("run_ids").chain(params.all("run_id")).collect();
    let dates = params.dates("logical_dates")?;
    let fits = |info: &RunInfo| {
        (named.is_empty() || named.contains(&&*info.run.run_id))
            && (dates.is_empty() || info.run.logical_date.is_some_and(|date| dates.contains(&date)))
    };
    let filter = RunFilter { dag_id: Some(dag_id.into()), state: None };
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = app.engine.db().runs(&filter, before.as_ref(), PAGE).await?;
        let last = page.last().map(|last| last.run.clone()).filter(|_| page.len() == PAGE as usize);
        // Parameters may be large, and it only matters whether there are any: null stands for them.
        let without = |mut info: RunInfo| {
            info.run.conf = info.run.conf.and_then(|_| Value::of(&()).ok());
            info
        };
        found.extend(page.into_iter().filter(&fits).map(without));
        match last {
            Some(last) => before = Some(last),
            None => return Ok(found),
        }
    }
}

/// How many runs of a DAG are in some states.
async fn count(State(app): State<App>, _: Running, params: Params) -> Result<Response, Refusal> {
    let states: Vec<&str> = params.all("states").collect();
    let found = runs(&app, &params).await?;
    let counted = found.iter().filter(|info| states.is_empty() || states.contains(&standing(info)));
    Ok(document(StatusCode::OK, &counted.count()))
}
