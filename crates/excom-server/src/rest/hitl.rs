//! What tasks ask people: look, and answer. The task instance beside it has what Excom knows of one; all else is as of one that
//! nothing was set for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_airflow::execution::{AWAITING_INPUT, HitlChoice, HitlUser};
use excom_core::attempt::{AttemptInfo, TaskInstanceInfo};
use excom_core::{Attempt, Caller, TaskInstanceKey};
use jiff::Unit;
use serde_json::{Map, Value as Json, json};

use crate::app::App;
use crate::auth::{Asking, Role};
use crate::execution::hitl::{Asked, answer, answered};
use crate::execution::notes::Noted;
use crate::refusal::{Refusal, document};
use crate::request::{Declared, Path, integer};

/// DAG, run, task and map index.
type Names = (Arc<str>, Arc<str>, Arc<str>, String);

/// What a task instance asks.
struct Found {
    info: TaskInstanceInfo,
    attempt: AttemptInfo,
    noted: Noted,
    asked: Asked,
}

impl Found {
    async fn of(app: &App, (dag_id, run_id, task_id, map_index): Names) -> Result<Self, Refusal> {
        let map_index = integer(&map_index, &["path", "map_index"])?;
        let none = |why: &str| {
            let message =
                format!("{task_id} with the map index {map_index} in run {run_id} of {dag_id} {why}");
            Refusal::plain(StatusCode::NOT_FOUND, message)
        };
        let ti = TaskInstanceKey::new(dag_id.clone(), run_id.clone(), task_id.clone(), map_index);
        let ti = ti.map_err(|_| none("was not found"))?;
        let info = app.engine.task_instance(&ti).await?.ok_or_else(|| none("was not found"))?;
        let attempt = info.attempt.clone().ok_or_else(|| none("has asked nothing"))?;
        let mut noted = Noted::of(app, &ti, &attempt).await?;
        let asked = noted.asked.take().ok_or_else(|| none("has asked nothing"))?;
        Ok(Self { info, attempt, noted, asked })
    }
}

pub(super) async fn read(
    State(app): State<App>,
    asking: Asking,
    Path(names): Path<Names>,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Read)?;
    let found = Found::of(&app, names).await?;
    let task_instance = task_instance(&app, &found).await?;
    let Found { noted, asked: Asked { created_at, request }, .. } = found;
    let answer = noted.answer.as_ref();
    let told = json!({
        "options": request.options, "subject": request.subject, "body": request.body, "defaults": request.defaults,
        "multiple": request.multiple, "params": fields(request.params),
        "assigned_users": request.assigned_users, "created_at": created_at,
        "responded_by_user": answer.and_then(|answer| answer.responded_by_user.as_ref()),
        "responded_at": answer.map(|answer| answer.responded_at),
        "chosen_options": answer.map(|answer| &answer.chosen_options),
        "params_input": answer.map_or_else(Map::new, |answer| answer.params_input.clone()),
        "response_received": answer.is_some(), "task_instance": task_instance,
    });
    Ok(document(StatusCode::OK, &told))
}

/// The fields of a form, each with all its parts.
fn fields(fields: Map<String, Json>) -> Map<String, Json> {
    let whole = |value: Json| match &value {
        Json::Object(parts)
            if ["value", "description", "schema"].iter().all(|part| parts.contains_key(*part)) =>
        {
            value
        }
        _ => json!({"value": value, "description": null, "schema": {}}),
    };
    fields.into_iter().map(|(name, value)| (name, whole(value))).collect()
}

/// The task instance that asks, with the fields that clients insist on.
async fn task_instance(app: &App, found: &Found) -> Result<Json, Refusal> {
    let Found { info, attempt, noted, .. } = found;
    let TaskInstanceKey { dag_id, run_id, task_id, map_index, .. } = &info.key;
    let run = app.engine.db().run_info(dag_id, run_id).await?.map(|info| info.run);
    let waits = noted.deferral.as_ref().is_some_and(|deferral| deferral.classpath.is_none());
    let took = attempt.ended_at.map(|end| end - attempt.started_at);
    let state = if info.state.name() == "deferred" && waits { AWAITING_INPUT } else { info.state.name() };
    Ok(json!({
        "id": attempt.id, "task_id": task_id, "dag_id": dag_id, "dag_run_id": run_id, "map_index": map_index,
        "logical_date": run.as_ref().and_then(|run| run.logical_date),
        "run_after": run.as_ref().map(|run| run.run_after), "start_date": attempt.started_at,
        "end_date": attempt.ended_at, "duration": took.and_then(|took| took.total(Unit::Second).ok()),
        "state": state, "try_number": attempt.try_number, "max_tries": 0, "task_display_name": task_id,
        "dag_display_name": dag_id, "hostname": null, "unixname": null, "pool": "default_pool", "pool_slots": 1,
        "queue": null, "priority_weight": null, "operator": null, "operator_name": null, "queued_when": null,
        "scheduled_when": null, "pid": null, "executor": null, "executor_config": "{}", "note": null,
        "rendered_map_index": noted.rendered_map_index, "rendered_fields": {}, "trigger": null,
        "triggerer_job": null, "dag_version": null,
    }))
}

/// Answers, as the person whom the token names.
pub(super) async fn update(
    State(app): State<App>,
    asking: Asking,
    Path(names): Path<Names>,
    Declared(choice): Declared<HitlChoice>,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Write)?;
    let Caller::User(name) = &asking.caller else {
        return Err(Refusal::plain(StatusCode::FORBIDDEN, "only people answer"));
    };
    let Found { info, attempt, noted, asked: Asked { request, .. } } = Found::of(&app, names).await?;
    let ti = &info.key;
    if noted.answer.is_some() {
        return Err(answered(ti));
    }
    let assigned = request.assigned_users;
    if !assigned.is_empty() && !assigned.iter().any(|user| *user.id == **name) {
        let message = format!("{ti} asks others than {name}");
        return Err(Refusal::plain(StatusCode::FORBIDDEN, message));
    }
    let refuse = |message: String| Err(Refusal::plain(StatusCode::BAD_REQUEST, message));
    if let Some(wrong) = choice.chosen_options.iter().find(|chosen| !request.options.contains(chosen)) {
        return refuse(format!("{wrong:?} is none of the options {:?}", request.options));
    }
    if choice.chosen_options.len() > 1 && !request.multiple {
        return refuse(format!("{ti} takes one option"));
    }
    let user = HitlUser { id: name.to_string(), name: name.to_string() };
    let attempt = Attempt { ti: ti.clone(), id: attempt.id };
    let answer = answer(&app, &attempt, choice, Some(user)).await?;
    let told = json!({
        "responded_by": answer.responded_by_user, "responded_at": answer.responded_at,
        "chosen_options": answer.chosen_options, "params_input": answer.params_input,
    });
    Ok(document(StatusCode::OK, &told))
}
