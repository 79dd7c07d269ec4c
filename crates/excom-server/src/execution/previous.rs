//! What was before: the last run of a DAG before a date, and a task's instance in the last run that has one.

use std::vec;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_airflow::execution::AWAITING_INPUT;
use excom_core::db::RunFilter;
use excom_core::run::RunInfo;
use excom_core::{DagRun, TaskInstanceKey, TaskState};
use futures_util::future::try_join_all;
use jiff::{Timestamp, Unit};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as Unknown;
use serde_json::json;

use super::dag_runs::{seen, standing};
use super::version::Spoken;
use crate::app::App;
use crate::auth::Running;
use crate::refusal::{Refusal, document};
use crate::request::{Params, Path};

/// How many runs are read together: each may have parameters of a megabyte.
const FEW: u32 = 20;

/// In how many runs a task's instance is looked for.
const MOST_RUNS: usize = 10_000;

/// Since when there is a route for previous runs; before, they were asked for as if it were the run `previous`.
pub(super) const OWN_ROUTE: &str = "2026-04-06";

/// The states of runs.
const STATES: [&str; 4] = ["queued", "running", "success", "failed"];

/// States of Airflow's that no task instance is in here: who waits for people is `deferred`, and who is to be started anew
/// is `queued`.
const NEVER: [&str; 2] = [AWAITING_INPUT, "restarting"];

/// Runs of a DAG, newest first.
struct Earlier<'a> {
    app: &'a App,
    filter: RunFilter,
    before: Option<DagRun>,
    page: vec::IntoIter<RunInfo>,
    ended: bool,
}

impl<'a> Earlier<'a> {
    /// Those before a date; all without one.
    fn than(app: &'a App, dag_id: &str, date: Option<Timestamp>) -> Self {
        // No run's id is empty, so none of that date is before this one.
        let at = |date| DagRun { logical_date: Some(date), ..DagRun::new(dag_id, "", date) };
        let filter = RunFilter { dag_id: Some(dag_id.into()), state: None };
        Self { app, filter, before: date.map(at), page: Vec::new().into_iter(), ended: false }
    }

    async fn next(&mut self) -> Result<Option<RunInfo>, Refusal> {
        loop {
            if let Some(info) = self.page.next() {
                return Ok(Some(info));
            }
            let Some(page) = self.few().await? else { return Ok(None) };
            self.page = page.into_iter();
        }
    }

    /// The next few, or none when there are no more.
    async fn few(&mut self) -> Result<Option<Vec<RunInfo>>, Refusal> {
        if self.ended {
            return Ok(None);
        }
        let page = self.app.engine.db().runs(&self.filter, self.before.as_ref(), FEW).await?;
        self.ended = page.len() < FEW as usize;
        self.before = page.last().map(|last| last.run.clone());
        Ok(Some(page))
    }
}

/// A state that is asked for.
fn unknown(state: &str, known: &str) -> Refusal {
    Refusal::unprocessable("enum", &["query", "state"], format!("Input should be one of {known}"), state)
}

/// The last run before a date, or null.
pub(super) async fn run(
    State(app): State<App>,
    _: Running,
    spoken: Spoken,
    params: Params,
) -> Result<Response, Refusal> {
    let Some(dag_id) = params.text("dag_id") else { return Err(missing("dag_id")) };
    before(&app, spoken, dag_id, &params).await
}

fn missing(name: &str) -> Refusal {
    Refusal::unprocessable("missing", &["query", name], "Field required", ())
}

/// The same for a DAG that was named otherwise.
pub(super) async fn before(
    app: &App,
    Spoken(version): Spoken,
    dag_id: &str,
    params: &Params,
) -> Result<Response, Refusal> {
    let date = params.dates("logical_date")?.pop().ok_or_else(|| missing("logical_date"))?;
    let state = params.text("state");
    if let Some(state) = state.filter(|state| !STATES.contains(state)) {
        return Err(unknown(state, &STATES.join(", ")));
    }
    let mut earlier = Earlier::than(app, dag_id, Some(date));
    while let Some(info) = earlier.next().await? {
        if info.run.logical_date.is_some() && state.is_none_or(|state| state == standing(&info)) {
            return Ok(document(StatusCode::OK, &version.of(&seen(info))));
        }
    }
    Ok(document(StatusCode::OK, &()))
}

/// A task's instance in the last run before a date that has one, or null; without a date in the last of all.
pub(super) async fn instance(
    State(app): State<App>,
    _: Running,
    Path((dag_id, task_id)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Refusal> {
    let date = params.dates("logical_date")?.pop();
    let map_index = params.integer("map_index")?.unwrap_or(-1);
    let state = match params.text("state") {
        Some(state) if NEVER.contains(&state) => return Ok(document(StatusCode::OK, &())),
        Some(state) => Some(
            TaskState::deserialize(state.into_deserializer())
                .map_err(|cause: Unknown| unknown(state, &cause.to_string()))?,
        ),
        None => None,
    };
    let (mut earlier, mut looked) = (Earlier::than(&app, &dag_id, date), 0);
    while let Some(mut runs) = earlier.few().await? {
        if looked == MOST_RUNS {
            let message = format!(
                "none of the {MOST_RUNS} runs of {dag_id} before it has such an instance of {task_id}"
            );
            let refusal = Refusal::because(StatusCode::BAD_REQUEST, "too_many", message);
            return Err(refusal.with("hints", vec!["ask for what is before an earlier `logical_date`"]));
        }
        looked += runs.len();
        runs.retain(|info| date.is_none() || info.run.logical_date.is_some());
        let instances = runs.iter().map(|RunInfo { run, .. }| {
            TaskInstanceKey::new(run.dag_id.clone(), run.run_id.clone(), task_id.as_str(), map_index)
        });
        let instances = instances.collect::<Result<Vec<_>, _>>()?;
        let found = try_join_all(instances.iter().map(|ti| app.engine.task_instance(ti))).await?;
        let found = found.into_iter().zip(runs).find_map(|(found, info)| {
            Some((
                found.filter(|found| state.is_none_or(|state| state == found.state))?,
                info.run.logical_date,
            ))
        });
        let Some((found, logical_date)) = found else { continue };
        let ti = &found.key;
        let attempt = found.attempt.as_ref();
        let took = attempt.and_then(|attempt| Some(attempt.ended_at? - attempt.started_at));
        let told = json!({
            "task_id": ti.task_id, "dag_id": ti.dag_id, "run_id": ti.run_id, "logical_date": logical_date,
            "start_date": attempt.map(|attempt| attempt.started_at),
            "end_date": attempt.and_then(|attempt| attempt.ended_at), "state": found.state.name(),
            "try_number": attempt.map_or(0, |attempt| attempt.try_number), "map_index": ti.map_index,
            "duration": took.and_then(|took| took.total(Unit::Second).ok()),
        });
        return Ok(document(StatusCode::OK, &told));
    }
    Ok(document(StatusCode::OK, &()))
}
