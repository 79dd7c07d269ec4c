//! Runs and task instances, for whoever decides what is executed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use excom_airflow::execution::Deferral;
use excom_core::attempt::AttemptInfo;
use excom_core::engine::Footprint;
use excom_core::{Attempt, AttemptId, DagRun, RunState, TaskInstanceKey, TaskState, UNMAPPED, Value};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::names::OfInstance;
use super::openapi::{Created, Reply};
use crate::app::App;
use crate::auth::{Asking, Role, TaskClaim};
use crate::execution::notes::{Noted, go_on_with};
use crate::execution::triggered::is_registered;
use crate::refusal::Refusal;
use crate::request::{Document, Path};

/// The largest number of a try: the labels of Airflow are as small.
const MOST_TRIES: u32 = 32_767;

/// How long a task instance may wait for a worker.
const QUEUED: Duration = Duration::from_secs(600);

/// A run that starts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRun {
    #[schemars(length(min = 1, max = 250))]
    dag_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    run_id: Arc<str>,
    #[serde(default)]
    logical_date: Option<Timestamp>,
    #[serde(default)]
    run_after: Option<Timestamp>,
    /// Its parameters.
    #[serde(default)]
    #[schemars(with = "Option<Json>")]
    conf: Option<Box<RawValue>>,
}

/// A try of a task instance that is to be executed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTry {
    #[schemars(length(min = 1, max = 250))]
    dag_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    run_id: Arc<str>,
    #[schemars(length(min = 1, max = 250))]
    task_id: Arc<str>,
    #[serde(default = "unmapped")]
    #[schemars(range(min = -1))]
    map_index: i32,
    /// The one behind the last, when it is not said.
    try_number: Option<NonZeroU32>,
    #[serde(default)]
    max_tries: u32,
    /// The attempt that goes on, when it waited; a new one without.
    #[serde(default)]
    id: Option<AttemptId>,
    /// The method that one which was deferred goes on with, in place of the one that it named.
    next_method: Option<String>,
    /// Its arguments, with the event of the trigger.
    #[schemars(with = "Option<Json>")]
    next_kwargs: Option<Box<RawValue>>,
}

/// How a run ended.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunEnd {
    dag_id: Arc<str>,
    run_id: Arc<str>,
    state: RunState,
}

/// A run.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Run {
    dag_id: Arc<str>,
    run_id: Arc<str>,
}

/// How a run stands.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunStanding {
    dag_id: Arc<str>,
    run_id: Arc<str>,
    state: RunState,
}

/// A try that waits for a worker.
#[derive(Serialize, JsonSchema)]
pub(super) struct QueuedTry {
    /// The attempt, which is the task instance's id for Airflow's workers.
    id: AttemptId,
    try_number: u32,
    /// The token with which a worker starts it.
    token: String,
}

fn unmapped() -> i32 {
    UNMAPPED
}

/// The parameters of a run, by their names.
fn parameters(conf: &RawValue) -> Result<Value, Refusal> {
    if !conf.get().starts_with('{') {
        let message = "the parameters of a run are an object, by their names";
        return Err(Refusal::unprocessable("dict_type", &["body", "conf"], message, ()));
    }
    Ok(Value::parse(conf.get().to_owned())?)
}

/// Starts a run. Repeated, it changes nothing.
pub(super) async fn start_run(
    State(app): State<App>,
    asking: Asking,
    Document(asked): Document<NewRun>,
) -> Result<Reply<Run>, Refusal> {
    asking.at_least(Role::Admin)?;
    let NewRun { dag_id, run_id, logical_date, run_after, conf } = asked;
    TaskInstanceKey::new(dag_id.clone(), run_id.clone(), "_", UNMAPPED)?;
    let now = app.engine.clock().now();
    let mut run = DagRun {
        logical_date,
        conf: conf.map(|conf| parameters(&conf)).transpose()?,
        ..DagRun::new(dag_id, run_id, run_after.or(logical_date).unwrap_or(now))
    };
    let told = Run { dag_id: run.dag_id.clone(), run_id: run.run_id.clone() };
    loop {
        // One that is known only because something was pushed into it has not been started.
        let known = app.engine.db().run_info(&run.dag_id, &run.run_id).await?;
        // What is not said of one that was triggered is as it was triggered.
        if let Some(known) = known.as_ref().filter(|known| known.state.is_none() && is_registered(known)) {
            if run_after.or(logical_date).is_none() {
                run.run_after = known.run.run_after;
            }
            run.logical_date = logical_date.or(known.run.logical_date);
            run.conf = run.conf.or_else(|| known.run.conf.clone());
        }
        if let Some((known, state)) = known.and_then(|known| Some((known.run, known.state?))) {
            // Dates are kept in milliseconds.
            let kept = |date: Option<Timestamp>| date.map(Timestamp::as_millisecond);
            let same = run.logical_date.is_none_or(|date| kept(known.logical_date) == kept(Some(date)))
                && run.conf.as_ref().is_none_or(|conf| known.conf.as_ref() == Some(conf));
            if same && !state.is_finished() {
                return Ok(Reply::ok(told));
            }
            let message =
                format!("run {} of {} is {state}, or is for another date or conf", run.run_id, run.dag_id);
            return Err(Refusal::because(StatusCode::CONFLICT, "exists", message)
                .with("hints", vec!["PATCH it with the state `running` to go on with one that has ended"]));
        }
        if app.engine.begin_run(&run).await? {
            return Ok(Reply(StatusCode::CREATED, told));
        }
        // Somebody was faster, and it is looked whether that was the same.
    }
}

/// Tells how a run ended.
pub(super) async fn end_run(
    State(app): State<App>,
    asking: Asking,
    Document(asked): Document<RunEnd>,
) -> Result<Reply<RunStanding>, Refusal> {
    asking.at_least(Role::Admin)?;
    let RunEnd { dag_id, run_id, state } = asked;
    if app.engine.db().run_info(&dag_id, &run_id).await?.is_none() {
        return Err(Refusal::not_found(format!("run {run_id} of {dag_id} is not known")));
    }
    app.engine.set_run_state(&dag_id, &run_id, state).await?;
    Ok(Reply::ok(RunStanding { dag_id, run_id, state }))
}

/// Makes a try of a task instance known, with the token by which a worker starts it.
pub(super) async fn queue(
    State(app): State<App>,
    asking: Asking,
    Document(asked): Document<NewTry>,
) -> Result<Created<QueuedTry>, Refusal> {
    asking.at_least(Role::Admin)?;
    let NewTry { dag_id, run_id, task_id, map_index, try_number, max_tries, id, next_method, next_kwargs } =
        asked;
    let ti = TaskInstanceKey::new(dag_id.clone(), run_id.clone(), task_id.clone(), map_index)?;
    if app.engine.db().run_info(&dag_id, &run_id).await?.is_none() {
        return Err(Refusal::not_found(format!("run {run_id} of {dag_id} has not been started")));
    }
    let info = app.engine.task_instance(&ti).await?;
    let (state, attempt) = info.map_or((None, None), |info| (Some(info.state), info.attempt));
    let last = attempt.as_ref().map(|last| last.id);
    let waits = matches!(state, Some(TaskState::Deferred | TaskState::UpForReschedule));
    let id = match id {
        Some(id) if waits && last == Some(id) => id,
        Some(id) => {
            let message = format!("attempt {id} of {ti} does not wait to go on");
            return Err(Refusal::because(StatusCode::CONFLICT, "invalid_state", message));
        }
        None => {
            // After an attempt the state tells how that one stands, until the next starts.
            if last.is_none() {
                app.engine.set_states(&[(ti.clone(), TaskState::Queued)]).await?;
            }
            app.engine.clock().attempt_id()
        }
    };
    if next_method.is_some() || next_kwargs.is_some() {
        go_on(&app, &ti, attempt.as_ref().filter(|last| last.id == id), next_method, next_kwargs).await?;
    }
    let tried = attempt.map_or(0, |last| last.try_number);
    let next = if last == Some(id) { tried } else { tried.saturating_add(1) };
    let try_number = try_number.map_or(next, NonZeroU32::get);
    if try_number > MOST_TRIES {
        let message = format!("a try number is at most {MOST_TRIES}");
        return Err(Refusal::unprocessable("less_than_equal", &["body", "try_number"], message, try_number));
    }
    let after = last.filter(|last| *last != id);
    let claim = TaskClaim { dag_id, run_id, task_id, map_index, try_number, max_tries, after };
    let token = app.tokens.workload(id.0, claim, QUEUED)?;
    Ok(Created(QueuedTry { id, try_number, token: token.into_secret() }))
}

/// Changes what a deferred attempt goes on with.
async fn go_on(
    app: &App,
    ti: &TaskInstanceKey,
    waiting: Option<&AttemptInfo>,
    next_method: Option<String>,
    next_kwargs: Option<Box<RawValue>>,
) -> Result<(), Refusal> {
    let deferral = match waiting.filter(|waiting| waiting.state == TaskState::Deferred) {
        Some(waiting) => Noted::of(app, ti, waiting).await?.deferral.map(|deferral| (waiting.id, deferral)),
        None => None,
    };
    let Some((id, mut deferral)) = deferral else {
        let message = format!("{ti} is not deferred, so it cannot go on with another method or arguments");
        return Err(Refusal::because(StatusCode::CONFLICT, "invalid_state", message)
            .with("hints", vec!["name the attempt that is deferred with `id`"]));
    };
    deferral.next_method = next_method.unwrap_or(deferral.next_method);
    deferral.next_kwargs = next_kwargs.or(deferral.next_kwargs);
    go_on_with(app, &Attempt { ti: ti.clone(), id }, &deferral).await
}

/// How a task instance stands, and what it waits for.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Standing {
    state: TaskState,
    /// The one that may write, once one has started.
    attempt: Option<AttemptInfo>,
    /// How people see its map index.
    rendered_map_index: Option<String>,
    /// What it waits for while it is deferred, and goes on with.
    deferral: Option<Waiting>,
    /// When it goes on, while it is put off.
    reschedule_date: Option<Timestamp>,
}

/// The trigger of a deferred task instance, and what follows it. Arguments are as the task serialized them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Deferral")]
struct Waiting {
    /// The trigger's class; null when a person is waited for, whom Airflow's `hitlDetails` tell what is asked.
    classpath: Option<String>,
    #[schemars(with = "Option<Json>")]
    trigger_kwargs: Option<Box<RawValue>>,
    /// How long the trigger, or the person, may take.
    #[schemars(with = "Option<Json>")]
    trigger_timeout: Option<Box<RawValue>>,
    /// The method to go on with.
    next_method: String,
    /// Its arguments, but for the event, which whoever runs the trigger adds.
    #[schemars(with = "Option<Json>")]
    next_kwargs: Option<Box<RawValue>>,
}

impl From<Deferral> for Waiting {
    fn from(deferral: Deferral) -> Self {
        let Deferral { classpath, trigger_kwargs, trigger_timeout, next_method, next_kwargs } = deferral;
        Self { classpath, trigger_kwargs, trigger_timeout, next_method, next_kwargs }
    }
}

/// How a task instance stands, and what it waits for.
pub(super) async fn show(
    State(app): State<App>,
    asking: Asking,
    Path(instance): Path<OfInstance>,
) -> Result<Reply<Standing>, Refusal> {
    asking.at_least(Role::Read)?;
    let ti = instance.key()?;
    let Some(info) = app.engine.task_instance(&ti).await? else {
        return Err(Refusal::not_found(format!("{ti} is not known")));
    };
    let Noted { deferral, reschedule, rendered_map_index, .. } = match &info.attempt {
        Some(attempt) => Noted::of(&app, &ti, attempt).await?,
        None => Noted::default(),
    };
    let deferral = deferral.filter(|_| info.state == TaskState::Deferred).map(Waiting::from);
    let reschedule = reschedule.filter(|_| info.state == TaskState::UpForReschedule);
    Ok(Reply::ok(Standing {
        state: info.state,
        attempt: info.attempt,
        rendered_map_index,
        deferral,
        reschedule_date: reschedule.map(|reschedule| reschedule.date),
    }))
}

/// What its attempts read and pushed.
pub(super) async fn footprint(
    State(app): State<App>,
    asking: Asking,
    Path(instance): Path<OfInstance>,
) -> Result<Reply<Footprint>, Refusal> {
    asking.at_least(Role::Read)?;
    let ti = instance.key()?;
    match app.engine.footprint(&asking.caller, &ti).await? {
        Some(footprint) => Ok(Reply::ok(footprint)),
        None => Err(Refusal::not_found(format!("{ti} is not known"))),
    }
}
