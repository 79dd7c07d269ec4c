//! `/execution/task-instances`: a task instance starts, lives, and ends.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, patch, put};
use excom_airflow::execution::{Heartbeat, Left, Run, RunContext, Runner, SkipDownstream, StateUpdate};
use excom_core::attempt::{AttemptInfo, TaskInstanceInfo};
use excom_core::db::StartMode;
use excom_core::{Attempt, TaskInstanceKey, TaskState, UNMAPPED, Value};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::assets;
use super::dag_runs::{runs, seen_by_workers};
use super::notes::{self, Noted};
use super::previous;
use super::version::Spoken;
use crate::app::App;
use crate::auth::{Claims, Running, Task, refresh};
use crate::refusal::{Refusal, document};
use crate::request::{Document, Params, Path};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/count", get(count))
        .route("/states", get(states))
        .route("/breadcrumbs", get(breadcrumbs))
        .route("/previous/{dag_id}/{task_id}", get(previous::instance))
        .route("/{id}/run", patch(run))
        .route("/{id}/state", patch(set_state))
        .route("/{id}/heartbeat", put(heartbeat))
        .route("/{id}/rtif", put(rendered))
        .route("/{id}/rendered-map-index", patch(rendered_map_index))
        .route("/{id}/skip-downstream", patch(skip_downstream))
        .route("/{id}/previous-successful-dagrun", get(previous_success))
        .route("/{id}/validate-inlets-and-outlets", get(assets::inactive))
}

/// The attempt that a path names as `{id}`, when it is the one that asks; it runs.
pub(super) struct Own(pub(super) Attempt);

/// What a path names, whatever else it has.
#[derive(Deserialize)]
struct Named {
    id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Own {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let task = Task::from_request_parts(parts, state).await?;
        task.running()?;
        let Path(Named { id }) = Path::<Named>::from_request_parts(parts, state).await?;
        own(&task, &id).map(Self)
    }
}

/// A token is for one task instance.
fn own(task: &Task, id: &str) -> Result<Attempt, Refusal> {
    let id = Uuid::try_parse(id).map_err(|_| {
        Refusal::unprocessable(
            "uuid_parsing",
            &["path", "task_instance_id"],
            "Input should be a valid UUID",
            id,
        )
    })?;
    if id != task.id {
        return Err(Refusal::plain(StatusCode::FORBIDDEN, "the token is of another task instance"));
    }
    task.attempt()
}

/// The task instance of an attempt, as far as the attempt is the one that counts.
pub(super) async fn current(
    app: &App,
    attempt: &Attempt,
) -> Result<(TaskInstanceInfo, AttemptInfo), Refusal> {
    let info = app.engine.task_instance(&attempt.ti).await?;
    match info.map(|info| (info.attempt.clone(), info)) {
        Some((Some(found), info)) if found.id == attempt.id => Ok((info, found)),
        // Another one has started: what this one still does is for nothing.
        Some((Some(_), _)) => Err(Refusal::because(
            StatusCode::GONE,
            "superseded",
            format!("a later attempt of {} has started", attempt.ti),
        )),
        _ => Err(Refusal::not_found(format!("attempt {} of {} has not started", attempt.id, attempt.ti))),
    }
}

/// Starts an attempt, or resumes one that waited: once, whoever comes with its token. The token that waited in a queue is
/// exchanged for one with which the task may do everything else.
async fn run(
    State(app): State<App>,
    task: Task,
    Spoken(version): Spoken,
    Path(id): Path<String>,
    Document(run): Document<Run>,
) -> Result<Response, Refusal> {
    let attempt = own(&task, &id)?;
    let claim = task.claim()?;
    let info = app.engine.task_instance(&attempt.ti).await?;
    let state = info.as_ref().map(|info| info.state);
    let last = info.and_then(|info| info.attempt);
    let before = last.clone().filter(|last| last.id == attempt.id);
    let mode = match before.as_ref().map(|before| before.state) {
        None => {
            may_start(&attempt, claim.after == last.map(|last| last.id), state)?;
            StartMode::Fresh
        }
        // A call whose answer was lost comes again.
        Some(TaskState::Running | TaskState::Deferred | TaskState::UpForReschedule) => StartMode::Resume,
        Some(state) => {
            let message = format!("attempt {} of {} has ended: {state}", attempt.id, attempt.ti);
            return Err(Refusal::invalid_state(state, message));
        }
    };
    // What cannot be signed starts nothing.
    let token = app.tokens.execution(Claims::clone(&task.claims))?;
    app.engine.start_attempt(&attempt, claim.try_number, mode).await?;
    let runner = run.runner();
    let first = notes::claim(&app, &attempt, &runner).await?;
    if first != runner {
        let Runner { hostname, pid, .. } = first;
        let message =
            format!("attempt {} of {} is executed by process {pid} of {hostname}", attempt.id, attempt.ti);
        return Err(Refusal::invalid_state(TaskState::Running, message));
    }
    let noted = match &before {
        Some(before) => Noted::of(&app, &attempt.ti, before).await?,
        None => Noted::default(),
    };
    let (next_method, next_kwargs) = noted.next()?;
    let context = RunContext {
        dag_run: seen_by_workers(&app, &attempt.ti.dag_id, &attempt.ti.run_id).await?,
        task_reschedule_count: noted.reschedule.map_or(0, |reschedule| reschedule.count),
        max_tries: claim.max_tries,
        variables: [],
        connections: [],
        xcom_keys_to_clear: [],
        should_retry: claim.should_retry(),
        // One that was deferred began then; to any other its start is the one that it tells.
        start_date: before.filter(|_| next_method.is_some()).map(|before| before.started_at),
        next_method,
        next_kwargs,
    };
    let mut answer = document(StatusCode::OK, &version.of(&context));
    refresh(&mut answer, &token);
    Ok(answer)
}

/// Whether a new attempt may start: nobody else has since it was put into a queue, and nobody has left it out.
fn may_start(attempt: &Attempt, is_next: bool, state: Option<TaskState>) -> Result<(), Refusal> {
    let left_out = [TaskState::Skipped, TaskState::UpstreamFailed, TaskState::Removed];
    let state = state.unwrap_or(TaskState::Queued);
    if is_next && !left_out.contains(&state) {
        return Ok(());
    }
    let message = format!("attempt {} of {} comes too late: it is {state}", attempt.id, attempt.ti);
    Err(Refusal::invalid_state(state, message))
}

async fn set_state(
    State(app): State<App>,
    Own(attempt): Own,
    Document(update): Document<StateUpdate>,
) -> Result<StatusCode, Refusal> {
    let state = update.state.state;
    if matches!(state, TaskState::Running | TaskState::Queued | TaskState::Scheduled) {
        let message = format!("a task instance does not end as {state}");
        return Err(Refusal::unprocessable("enum", &["body", "state"], message, state.name()));
    }
    let (info, found) = current(&app, &attempt).await?;
    if found.state == state {
        return Ok(StatusCode::OK);
    }
    if found.state != TaskState::Running {
        let message = format!("{} is {}, and only one that runs can become {state}", info.key, found.state);
        return Err(Refusal::invalid_state(found.state, message));
    }
    if state == TaskState::Success {
        assets::check_partitions(&update.outlet_events)?;
    }
    if let Some(label) = &update.rendered_map_index {
        notes::label(&app, &attempt, label).await?;
    }
    match state {
        TaskState::Deferred => match update.deferral() {
            Some(deferral) => notes::defer(&app, &attempt, &deferral).await?,
            None if update.state.awaits_input => return Err(missing(&["next_method"])),
            None => return Err(missing(&["classpath", "next_method"])),
        },
        TaskState::UpForReschedule => match update.reschedule_date {
            Some(date) => notes::put_off(&app, &attempt, &found, date).await?,
            None => return Err(missing(&["reschedule_date"])),
        },
        TaskState::Success => {
            if let Err(refusal) = assets::note_events(&app, &attempt, &update).await {
                // A worker that is refused tells nothing more of the task, which would run for ever.
                if refusal.is_for_good() {
                    app.engine.set_attempt_state(&attempt, TaskState::Failed).await?;
                }
                return Err(refusal);
            }
        }
        _ => {}
    }
    app.engine.set_attempt_state(&attempt, state).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a state needs beside it.
fn missing(names: &[&str]) -> Refusal {
    let part = |name: &&str| json!({"type": "missing", "loc": ["body", name], "msg": "Field required"});
    Refusal::listed(names.iter().map(part).collect())
}

async fn heartbeat(
    State(app): State<App>,
    Own(attempt): Own,
    Document(Heartbeat { hostname, pid }): Document<Heartbeat>,
) -> Result<StatusCode, Refusal> {
    let (info, found) = current(&app, &attempt).await?;
    let runner = notes::runner(&app, &attempt.ti, &found).await?;
    if let Some(runner) = runner.filter(|runner| (&runner.hostname, runner.pid) != (&hostname, pid)) {
        let message = format!("{} is executed by process {} of {}", info.key, runner.pid, runner.hostname);
        return Err(Refusal::because(StatusCode::CONFLICT, "running_elsewhere", message)
            .with("current_hostname", runner.hostname)
            .with("current_pid", runner.pid));
    }
    if found.state != TaskState::Running {
        let message = format!("{} is no longer running, and should stop", info.key);
        return Err(Refusal::because(StatusCode::CONFLICT, "not_running", message)
            .with("current_state", found.state.name()));
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn rendered(
    State(app): State<App>,
    Own(attempt): Own,
    Document(fields): Document<IndexMap<String, Box<RawValue>>>,
) -> Result<Response, Refusal> {
    let fields: Vec<(String, Value)> = fields
        .into_iter()
        .map(|(name, text)| Ok((name, Value::parse(text.get().to_owned())?)))
        .collect::<Result<_, Refusal>>()?;
    app.engine.note_rendered(&attempt, &fields).await?;
    let message = "Rendered task instance fields successfully set";
    Ok(document(StatusCode::CREATED, &json!({"message": message})))
}

/// How people see a map index.
async fn rendered_map_index(
    State(app): State<App>,
    Own(attempt): Own,
    Document(label): Document<String>,
) -> Result<StatusCode, Refusal> {
    notes::label(&app, &attempt, &label).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Leaves out what a branch did not take, unless it has begun.
async fn skip_downstream(
    State(app): State<App>,
    Own(attempt): Own,
    Document(SkipDownstream { tasks }): Document<SkipDownstream>,
) -> Result<StatusCode, Refusal> {
    current(&app, &attempt).await?;
    let TaskInstanceKey { dag_id, run_id, .. } = &attempt.ti;
    let mut skipped = Vec::new();
    for left in tasks {
        let (task_id, map_index) = match left {
            Left::Task(task_id) => (task_id, UNMAPPED),
            Left::Instance(task_id, map_index) => (task_id, map_index),
        };
        skipped.push(TaskInstanceKey::new(dag_id.clone(), run_id.clone(), task_id, map_index)?);
    }
    app.engine.skip(&skipped).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn previous_success(State(app): State<App>, Own(attempt): Own) -> Result<Response, Refusal> {
    let run = app.engine.db().run_info(&attempt.ti.dag_id, &attempt.ti.run_id).await?;
    let last = match run {
        Some(info) => app.engine.db().last_success(&info.run).await?,
        None => None,
    };
    let date = last.as_ref().and_then(|last| last.run.logical_date);
    Ok(document(
        StatusCode::OK,
        &json!({
            "data_interval_start": date,
            "data_interval_end": date,
            "start_date": last.as_ref().and_then(|last| last.started_at),
            "end_date": last.as_ref().and_then(|last| last.ended_at),
        }),
    ))
}

/// The task instances of runs that parameters choose.
async fn chosen(app: &App, params: &Params) -> Result<Vec<TaskInstanceInfo>, Refusal> {
    if params.text("task_group_id").is_some() {
        let message = "groups of tasks are not known here: name the tasks with task_ids";
        return Err(Refusal::unprocessable("value_error", &["query", "task_group_id"], message, ()));
    }
    let tasks: Vec<&str> = params.all("task_ids").collect();
    let map_index: Option<i32> = params.integer("map_index")?;
    let mut found = Vec::new();
    for info in runs(app, params).await? {
        let mut instances = app.engine.task_instances(&info.run.dag_id, &info.run.run_id);
        while let Some(info) = instances.next().await? {
            let named = tasks.is_empty() || tasks.contains(&&*info.key.task_id);
            if named && map_index.is_none_or(|index| index == info.key.map_index) {
                found.push(info);
            }
        }
    }
    Ok(found)
}

async fn count(State(app): State<App>, _: Running, params: Params) -> Result<Response, Refusal> {
    let states: Vec<&str> = params.all("states").collect();
    let found = chosen(&app, &params).await?;
    let counted = found.iter().filter(|info| states.is_empty() || states.contains(&info.state.name()));
    Ok(document(StatusCode::OK, &counted.count()))
}

async fn states(State(app): State<App>, _: Running, params: Params) -> Result<Response, Refusal> {
    let mut states: BTreeMap<String, BTreeMap<String, &str>> = BTreeMap::new();
    for info in chosen(&app, &params).await? {
        let TaskInstanceKey { run_id, task_id, map_index, .. } = &info.key;
        let name = if *map_index < 0 { task_id.to_string() } else { format!("{task_id}_{map_index}") };
        states.entry(run_id.to_string()).or_default().insert(name, info.state.name());
    }
    Ok(document(StatusCode::OK, &json!({"task_states": states})))
}

async fn breadcrumbs(State(app): State<App>, _: Running, params: Params) -> Result<Response, Refusal> {
    let found = chosen(&app, &params).await?;
    let ended = found.iter().filter(|info| info.state.is_finished());
    let crumbs: Vec<_> = ended
        .map(|info| {
            let took = info.attempt.as_ref().and_then(|attempt| Some(attempt.ended_at? - attempt.started_at));
            json!({
                "task_id": info.key.task_id, "map_index": info.key.map_index, "state": info.state.name(),
                "operator": null, "duration": took.and_then(|took| took.total(jiff::Unit::Second).ok()),
            })
        })
        .collect();
    Ok(document(StatusCode::OK, &json!({"breadcrumbs": crumbs})))
}
