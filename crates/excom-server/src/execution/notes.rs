//! What is kept of a task instance for the next time that it is executed: by the server, and by the task itself.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get};
use excom_airflow::execution::{Deferral, HitlAnswer, Keep, Runner};
use excom_core::attempt::AttemptInfo;
use excom_core::db::Note;
use excom_core::{Attempt, Caller, TaskInstanceKey, Value};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::hitl::{self, Asked};
use super::instances::{Own, current};
use crate::app::App;
use crate::refusal::{Refusal, document};
use crate::request::{Document, Params, Path};

/// Who executes it.
const RUNNER: &str = "execution/runner";

/// What it waits for while it is deferred, and goes on with.
const DEFERRAL: &str = "execution/deferral";

/// Until when it is put off.
const RESCHEDULE: &str = "execution/reschedule";

/// How people see its map index.
const MAP_INDEX: &str = "execution/rendered_map_index";

/// What the task keeps, each under a name of its own behind this.
const STORE: &str = "store/";

/// How many of them are read together: each may have a mebibyte.
const FEW: u32 = 8;

/// Who notes what the server itself needs to know.
const SERVER: Caller = Caller::System("server");

/// Until when a task instance is put off, and how often it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reschedule {
    pub(crate) count: u32,
    pub(crate) date: Timestamp,
}

/// What is noted of an attempt for whoever executes it.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) deferral: Option<Deferral>,
    pub(crate) reschedule: Option<Reschedule>,
    pub(crate) rendered_map_index: Option<String>,
    /// What it asks people.
    pub(crate) asked: Option<Asked>,
    pub(crate) answer: Option<HitlAnswer>,
}

impl Noted {
    /// What an attempt noted; what those before it did is not its own.
    pub(crate) async fn of(app: &App, ti: &TaskInstanceKey, attempt: &AttemptInfo) -> Result<Self, Refusal> {
        let mut noted = Self::default();
        for note in app.engine.notes(&SERVER, ti, "execution/", 16).await? {
            if note.number != attempt.number {
                continue;
            }
            match &*note.name {
                DEFERRAL => noted.deferral = Some(read(&note)?),
                RESCHEDULE => noted.reschedule = Some(read(&note)?),
                MAP_INDEX => noted.rendered_map_index = Some(read(&note)?),
                hitl::ASKED => noted.asked = Some(read(&note)?),
                hitl::ANSWER => noted.answer = Some(read(&note)?),
                _ => {}
            }
        }
        Ok(noted)
    }

    /// The method that it goes on with and its arguments, among them what a person answered, where that is waited for.
    pub(super) fn next(&self) -> Result<(Option<String>, Option<Box<RawValue>>), Refusal> {
        let Some(deferral) = &self.deferral else { return Ok((None, None)) };
        let arguments = match self.answer.as_ref().filter(|_| deferral.classpath.is_none()) {
            Some(answer) => Some(answer.among(deferral.next_kwargs.as_deref()).map_err(|cause| {
                let message = format!("the arguments that the task goes on with are no object: {cause}");
                Refusal::because(StatusCode::UNPROCESSABLE_ENTITY, "corrupt", message)
            })?),
            None => deferral.next_kwargs.clone(),
        };
        Ok((Some(deferral.next_method.clone()), arguments))
    }
}

fn read<T: DeserializeOwned>(note: &Note) -> Result<T, Refusal> {
    serde_json::from_str(note.value.as_str()).map_err(|cause| {
        let message =
            format!("the note `{}` of the task instance is not as it was written: {cause}", note.name);
        Refusal::because(StatusCode::UNPROCESSABLE_ENTITY, "corrupt", message)
    })
}

pub(super) async fn note<T: Serialize>(
    app: &App,
    attempt: &Attempt,
    name: &str,
    noted: Option<&T>,
) -> Result<(), Refusal> {
    let value = noted.map(Value::of).transpose()?;
    Ok(app.engine.note(attempt, name, value.as_ref()).await?)
}

/// Notes who executes an attempt, and tells whoever does: of two that begin at once, one.
pub(super) async fn claim(app: &App, attempt: &Attempt, runner: &Runner) -> Result<Runner, Refusal> {
    let first = app.engine.note_once(attempt, RUNNER, &Value::of(runner)?).await?;
    Ok(serde_json::from_str(first.as_str()).unwrap_or_else(|_| runner.clone()))
}

/// Who executes an attempt, as far as it was noted.
pub(super) async fn runner(
    app: &App,
    ti: &TaskInstanceKey,
    attempt: &AttemptInfo,
) -> Result<Option<Runner>, Refusal> {
    let found = app.engine.notes(&SERVER, ti, RUNNER, 1).await?;
    found.iter().find(|note| &*note.name == RUNNER && note.number == attempt.number).map(read).transpose()
}

/// What an attempt that is deferred goes on with.
pub(crate) async fn go_on_with(app: &App, attempt: &Attempt, deferral: &Deferral) -> Result<(), Refusal> {
    note(app, attempt, DEFERRAL, Some(deferral)).await
}

/// The same, and whoever comes next executes it.
pub(super) async fn defer(app: &App, attempt: &Attempt, deferral: &Deferral) -> Result<(), Refusal> {
    go_on_with(app, attempt, deferral).await?;
    Ok(app.engine.note(attempt, RUNNER, None).await?)
}

/// The same for one that is put off. It begins anew then. Told again until the same date, since the answer was lost, it is
/// counted once: whoever is put off again is so until later.
pub(super) async fn put_off(
    app: &App,
    attempt: &Attempt,
    found: &AttemptInfo,
    date: Timestamp,
) -> Result<(), Refusal> {
    let count = match Noted::of(app, &attempt.ti, found).await?.reschedule {
        Some(before) if before.date == date => before.count,
        Some(before) => before.count.saturating_add(1),
        None => 1,
    };
    note(app, attempt, RESCHEDULE, Some(&Reschedule { count, date })).await?;
    app.engine.note(attempt, DEFERRAL, None).await?;
    Ok(app.engine.note(attempt, RUNNER, None).await?)
}

/// How people see the map index.
pub(super) async fn label(app: &App, attempt: &Attempt, label: &str) -> Result<(), Refusal> {
    note(app, attempt, MAP_INDEX, Some(&label)).await
}

/// `/task-reschedules`: when the first of the tries began that put a task instance off.
pub(super) fn reschedules() -> Router<App> {
    Router::new().route("/{id}/start_date", get(first_start))
}

async fn first_start(State(app): State<App>, Own(attempt): Own, params: Params) -> Result<Response, Refusal> {
    let asked: Option<u32> = params.integer("try_number")?;
    let (_, found) = current(&app, &attempt).await?;
    let was_put_off = Noted::of(&app, &attempt.ti, &found).await?.reschedule.is_some();
    let is_this = asked.is_none_or(|number| number == found.try_number);
    Ok(document(StatusCode::OK, &(was_put_off && is_this).then_some(found.started_at)))
}

/// `/store/ti`: what a task keeps for its next tries.
pub(super) fn store() -> Router<App> {
    Router::new().route("/{id}", delete(forget_all)).route("/{id}/{*key}", get(kept).put(keep).delete(forget))
}

/// The name of the note of a key.
fn named(key: &str) -> String {
    format!("{STORE}{key}")
}

async fn keep(
    State(app): State<App>,
    Own(attempt): Own,
    Path((_, key)): Path<(String, String)>,
    Document(kept): Document<Keep>,
) -> Result<StatusCode, Refusal> {
    if kept.value.get() == "null" {
        return Err(Refusal::unprocessable("value_error", &["body", "value"], "value cannot be null", ()));
    }
    note(&app, &attempt, &named(&key), Some(&kept)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn kept(
    State(app): State<App>,
    Own(attempt): Own,
    Path((_, key)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let name = named(&key);
    let notes = app.engine.notes(&Caller::Attempt(attempt.clone()), &attempt.ti, &name, 1).await?;
    let found = notes.iter().find(|note| *note.name == *name).map(read::<Keep>).transpose()?;
    let now = app.engine.clock().now();
    match found.filter(|kept| kept.expires_at.is_none_or(|end| end > now)) {
        Some(kept) => Ok(document(StatusCode::OK, &json!({"value": kept.value}))),
        None => Err(Refusal::not_found(format!("Task state store key {key:?} not found"))),
    }
}

async fn forget(
    State(app): State<App>,
    Own(attempt): Own,
    Path((_, key)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    app.engine.note(&attempt, &named(&key), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn forget_all(State(app): State<App>, Own(attempt): Own) -> Result<StatusCode, Refusal> {
    let caller = Caller::Attempt(attempt.clone());
    loop {
        let notes = app.engine.notes(&caller, &attempt.ti, STORE, FEW).await?;
        if notes.is_empty() {
            break;
        }
        for note in notes {
            app.engine.note(&attempt, &note.name, None).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
