//! Runs that tasks trigger, and those that they clear. Nothing starts here: whoever decides what is executed finds a run that
//! waits, or one whose task instances are to be executed again.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use excom_airflow::execution::TriggeredRun;
use excom_core::run::RunInfo;
use excom_core::{Caller, DagRun, RunState, TaskInstanceKey, TaskState, UNMAPPED, Value};

use super::instances::current;
use crate::app::App;
use crate::auth::Running;
use crate::refusal::Refusal;
use crate::request::{Document, Path};

/// The most bytes of a run's parameters: runs are read by the page.
const CONF_LIMIT: u64 = 1 << 20;

/// Refuses whoever was superseded, as what it pushes is.
async fn fence(app: &App, caller: &Caller) -> Result<(), Refusal> {
    match caller {
        Caller::Attempt(attempt) => current(app, attempt).await.map(drop),
        _ => Ok(()),
    }
}

/// Whether a run is there as such, and not only because something was pushed into it.
pub(crate) fn is_registered(info: &RunInfo) -> bool {
    info.state.is_some() || info.run.conf.is_some() || info.run.logical_date.is_some()
}

/// Makes a run known, which waits from then on for somebody to start it.
pub(super) async fn trigger(
    State(app): State<App>,
    Running(caller): Running,
    Path((dag_id, run_id)): Path<(Arc<str>, Arc<str>)>,
    Document(asked): Document<TriggeredRun>,
) -> Result<StatusCode, Refusal> {
    fence(&app, &caller).await?;
    TaskInstanceKey::new(dag_id.clone(), run_id.clone(), "_", UNMAPPED)?;
    if let Some(partition) = asked.partition_key {
        let message = format!("the DAG `{dag_id}` has no partitions, so no run can be for {partition:?}");
        return Err(Refusal::because(StatusCode::BAD_REQUEST, "not_partitioned", message));
    }
    let conf = Value::of(&asked.conf)?;
    if conf.size() > CONF_LIMIT {
        let message =
            format!("the conf of {run_id} has {} bytes, and {CONF_LIMIT} are the most", conf.size());
        return Err(Refusal::because(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
            .with("hints", vec!["push what is large as an XCom, and tell in conf where it is"]));
    }
    let run = DagRun {
        logical_date: asked.logical_date,
        conf: Some(conf),
        ..DagRun::new(dag_id, run_id, asked.run_after.unwrap_or_else(|| app.engine.clock().now()))
    };
    // Of two that trigger the same run here at once one is told that it is there.
    let _alone = app.triggering.lock().await;
    let db = app.engine.db();
    let known = db.run_info(&run.dag_id, &run.run_id).await?;
    if known.is_some_and(|known| is_registered(&known) || db.is_airflows()) {
        let message = format!("the run {} of {} is there already", run.run_id, run.dag_id);
        return Err(Refusal::because(StatusCode::CONFLICT, "already_exists", message));
    }
    app.engine.register_run(&run).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets all task instances of a run be executed again. What they pushed is there until each starts, and attempts that still go
/// on are told to stop.
pub(super) async fn clear(
    State(app): State<App>,
    Running(caller): Running,
    Path((dag_id, run_id)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    fence(&app, &caller).await?;
    let Some(known) = app.engine.db().run_info(&dag_id, &run_id).await? else {
        return Err(Refusal::not_found(format!("there is no run {run_id} of {dag_id} to clear")));
    };
    let mut instances = app.engine.task_instances(&dag_id, &run_id);
    let mut states = Vec::new();
    while let Some(info) = instances.next().await? {
        if info.state != TaskState::Removed {
            states.push((info.key, TaskState::Scheduled));
        }
    }
    app.engine.set_states(&states).await?;
    if known.state.is_some() {
        app.engine.set_run_state(&dag_id, &run_id, RunState::Running).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
