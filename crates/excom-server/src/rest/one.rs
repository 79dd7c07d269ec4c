//! One XCom: look, make, change, delete.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_airflow::python::{deserialized, stringified};
use excom_airflow::rest::{ChangedXCom, NewXCom, XComEntry, reserved};
use excom_core::answer::Found;
use excom_core::db::{RunFilter, Scope};
use excom_core::{Answer, PullOptions, RETURN_VALUE, TaskInstanceKey, UNMAPPED, Value, XComKey};
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use super::entry;
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::own::LARGEST_LOOKED_INTO;
use crate::refusal::{Refusal, document};
use crate::request::{Declared, Params, Path};

/// The most bytes of a value that is shown otherwise than it is stored.
const LONGEST: usize = 16 << 20;

/// DAG, run, task and key of a path.
type Names = Path<(String, String, String, String)>;

/// What is there under a key.
async fn found(app: &App, asking: &Asking, key: &XComKey) -> Result<Option<Found>, Refusal> {
    found_within(app, asking, key, u64::MAX).await
}

/// The same, if it has no more than so many bytes.
async fn found_within(
    app: &App,
    asking: &Asking,
    key: &XComKey,
    mut most: u64,
) -> Result<Option<Found>, Refusal> {
    let (key, options) = (std::slice::from_ref(key), PullOptions::default());
    let answer = app.engine.pull_within(&asking.caller, key, options, &mut most).await?.pop();
    let Some(answer) = answer else { return Ok(None) };
    app.metrics.answered(&answer);
    match answer {
        Answer::Found(found) | Answer::Null(found) => Ok(Some(found)),
        answer => {
            let refusal = Refusal::of_answer(&answer);
            if refusal.is_none() { Ok(None) } else { Err(refusal) }
        }
    }
}

/// An XCom with its value, as it is answered.
async fn shown(app: &App, key: &XComKey, found: &Found) -> Result<XComEntry, Refusal> {
    let run = app.engine.db().run_info(&key.ti.dag_id, &key.ti.run_id).await?;
    let mut entry = entry(key, found.version, run.as_ref().map(|info| &info.run));
    entry.value = RawValue::from_string(found.value.as_str().to_owned()).ok();
    Ok(entry)
}

/// How a value is shown.
#[derive(Debug, Clone, Copy)]
struct Showing {
    /// With objects of Python as text.
    deserialize: bool,
    /// As Python's text.
    stringify: bool,
}

impl Showing {
    /// A value as it is shown; none when that is too long.
    fn of(self, value: Value) -> Option<Value> {
        let value = if self.deserialize { deserialized(&value, LONGEST)? } else { value };
        match self.stringify && !value.is_null() {
            true => Value::of(&stringified(&value, LONGEST)?).ok(),
            false => Some(value),
        }
    }
}

/// What is there under a key, as it is shown. Only what is not too large is looked into, off the threads that answer.
async fn looked_into(
    app: &App,
    asking: &Asking,
    key: &XComKey,
    showing: Showing,
) -> Result<Option<Found>, Refusal> {
    // A permit is never refused: nobody closes them.
    let turn = app.own.looks.clone().acquire_owned().await;
    let Some(found) = found_within(app, asking, key, LARGEST_LOOKED_INTO).await? else { return Ok(None) };
    let Found { value, version, writer } = found;
    let shown = spawn_blocking(move || {
        let shown = showing.of(value);
        drop(turn);
        shown
    });
    let stopped =
        |_| Refusal::plain(StatusCode::INTERNAL_SERVER_ERROR, "the value was not looked into to its end");
    let too_long = || {
        let message = format!("{key} would be shown with over {LONGEST} bytes");
        Refusal::because(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
            .with("hints", vec!["ask for it without `deserialize` and `stringify`"])
    };
    let value = shown.await.map_err(stopped)?.ok_or_else(too_long)?;
    Ok(Some(Found { value, version, writer }))
}

pub(super) async fn read(
    State(app): State<App>,
    asking: Asking,
    Path((dag, run, task, key)): Names,
    params: Params,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Read)?;
    let showing = Showing { deserialize: params.flag("deserialize")?, stringify: params.flag("stringify")? };
    let key = XComKey::new(
        dag,
        run,
        task,
        params.map_index("map_index", UNMAPPED.into())?.unwrap_or(UNMAPPED),
        key,
    )?;
    let found = match showing {
        Showing { deserialize: false, stringify: false } => found(&app, &asking, &key).await?,
        _ => looked_into(&app, &asking, &key, showing).await?,
    };
    match found {
        Some(found) => Ok(document(StatusCode::OK, &shown(&app, &key, &found).await?)),
        None => Err(absent(format!("XCom entry with key: `{}` not found", key.key))),
    }
}

fn absent(message: String) -> Refusal {
    Refusal::plain(StatusCode::NOT_FOUND, message)
}

fn not_there(key: &XComKey) -> Refusal {
    absent(format!("The XCom with key: `{}` with mentioned task instance doesn't exist.", key.key))
}

/// A value that may be written by hand.
fn writable(value: &RawValue) -> Result<Value, Refusal> {
    let parsed = serde_json::from_str(value.get()).unwrap_or_default();
    if let Some((place, key)) = reserved(&parsed) {
        let message = format!(
            "Value error, XCom {place} contains reserved serialization keys: {key}. These keys are reserved for \
             internal use."
        );
        return Err(Refusal::unprocessable("value_error", &["body", "value"], message, parsed));
    }
    Ok(Value::parse(value.get().to_owned())?)
}

/// Makes an XCom of a task instance that is known.
pub(super) async fn create(
    State(app): State<App>,
    asking: Asking,
    Path((dag, run, task)): Path<(String, String, String)>,
    Declared(NewXCom { key, value, map_index }): Declared<NewXCom>,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Write)?;
    let value = writable(&value)?;
    let key = XComKey::new(dag, run, task, map_index, key)?;
    known(&app, &key).await?;
    if found(&app, &asking, &key).await?.is_some() {
        let message =
            format!("The XCom with key: `{}` with mentioned task instance already exists.", key.key);
        return Err(Refusal::plain(StatusCode::CONFLICT, message));
    }
    app.metrics.pushed(app.engine.push(&asking.caller, &key, value.into()).await)?;
    written(&app, &asking, &key, StatusCode::CREATED).await
}

/// Whether the task instance of an XCom is known; otherwise what of it is not.
async fn known(app: &App, key: &XComKey) -> Result<(), Refusal> {
    let ti = &key.ti;
    if app.engine.task_instance(ti).await?.is_some() {
        return Ok(());
    }
    let db = app.engine.db();
    let of_dag = RunFilter { dag_id: Some(ti.dag_id.clone()), state: None };
    Err(absent(if db.runs(&of_dag, None, 1).await?.is_empty() {
        format!("The Dag with ID: `{}` was not found", ti.dag_id)
    } else if db.run_info(&ti.dag_id, &ti.run_id).await?.is_none() {
        format!("Dag Run with ID: `{}` not found for dag: `{}`", ti.run_id, ti.dag_id)
    } else {
        format!("Task with ID: `{}` not found in dag: `{}`", ti.task_id, ti.dag_id)
    }))
}

/// Replaces the value of an XCom that is there. One that is marked as what its DAG returns stays so.
pub(super) async fn update(
    State(app): State<App>,
    asking: Asking,
    Path((dag, run, task, key)): Names,
    Declared(ChangedXCom { value, map_index }): Declared<ChangedXCom>,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Write)?;
    let value = writable(&value)?;
    let key = XComKey::new(dag, run, task, map_index, key)?;
    if found(&app, &asking, &key).await?.is_none() {
        return Err(not_there(&key));
    }
    let TaskInstanceKey { dag_id, run_id, task_id, .. } = &key.ti;
    let is_result =
        &*key.key == RETURN_VALUE && app.engine.db().results(dag_id, run_id).await?.contains(task_id);
    app.metrics.pushed(match is_result {
        true => app.engine.push_result(&asking.caller, &key, value.into()).await,
        false => app.engine.push(&asking.caller, &key, value.into()).await,
    })?;
    written(&app, &asking, &key, StatusCode::OK).await
}

/// What was just written, as it is shown.
async fn written(app: &App, asking: &Asking, key: &XComKey, status: StatusCode) -> Result<Response, Refusal> {
    match found(app, asking, key).await? {
        Some(found) => Ok(document(status, &shown(app, key, &found).await?)),
        // Somebody was faster.
        None => Err(not_there(key)),
    }
}

/// Deletes an XCom with its history and bytes.
pub(super) async fn delete(
    State(app): State<App>,
    asking: Asking,
    Path((dag, run, task, key)): Names,
    params: Params,
) -> Result<StatusCode, Refusal> {
    asking.at_least(Role::Admin)?;
    let key = XComKey::new(
        dag,
        run,
        task,
        params.map_index("map_index", UNMAPPED.into())?.unwrap_or(UNMAPPED),
        key,
    )?;
    match app.engine.delete(&asking.caller, &Scope::Key(key.clone())).await? {
        0 => Err(not_there(&key)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
