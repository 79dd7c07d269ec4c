//! `/execution/xcoms/{dag_id}/{run_id}/{task_id}/{key}`: pull, count, push and clear.
//!
//! A key may hold slashes. On GET, one that ends in `/item/<n>` or `/slice` is part of a sequence, as in Airflow.

use axum::Router;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use bytes::Bytes;
use excom_core::channel::PullOptions;
use excom_core::db::Scope;
use excom_core::engine::TaskAnswer;
use excom_core::{Answer, Caller, Result, SequenceKey, Slice, TaskInstanceKey, UNMAPPED, Value, XComKey};
use serde_json::json;

use super::found::{Found, WHOLE, array};
use crate::app::App;
use crate::auth::Running;
use crate::refusal::{Refusal, document};
use crate::request::{Params, Path, integer, is_json, not_json};

pub(super) fn router() -> Router<App> {
    let task = "/execution/xcoms/{dag_id}/{run_id}/{task_id}";
    Router::new()
        .route(task, any(with_slash))
        .route(&format!("{task}/"), get(no_key).head(no_key).post(no_key).delete(no_key))
        .route(&format!("{task}/{{*key}}"), get(pull).head(count).post(push).delete(clear))
}

/// DAG, run, task and key of a path.
type Names = Path<(String, String, String, String)>;

/// What a GET asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    Value(&'a str),
    Item(&'a str, &'a str),
    Slice(&'a str),
}

impl<'a> Asked<'a> {
    fn of(tail: &'a str) -> Self {
        if let Some((key, position)) = tail.rsplit_once("/item/")
            && !key.is_empty()
            && !position.is_empty()
            && !position.contains('/')
        {
            return Self::Item(key, position);
        }
        match tail.strip_suffix("/slice") {
            Some(key) if !key.is_empty() => Self::Slice(key),
            _ => Self::Value(tail),
        }
    }
}

/// DAG, run and task.
type Place = (String, String, String);

/// A task instance's XCom under a key.
fn xcom((dag, run, task): Place, map_index: Option<i32>, key: &str) -> Result<XComKey> {
    XComKey::new(dag, run, task, map_index.unwrap_or(UNMAPPED), key)
}

/// The same to read, where what cannot be is not there.
fn read(place: Place, map_index: Option<i32>, key: &str) -> Result<XComKey, Refusal> {
    xcom(place, map_index, key).map_err(|error| Refusal::not_found(error.to_string()))
}

/// A task's sequence under a key.
fn sequence(place: Place, key: &str) -> Result<SequenceKey, Refusal> {
    read(place, None, key).map(|key| key.sequence())
}

async fn no_key() -> Refusal {
    Refusal::empty(&["path", "key"])
}

/// Where the empty key is, which is none.
async fn with_slash(OriginalUri(uri): OriginalUri) -> Redirect {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::temporary(&format!("{}/{query}", uri.path()))
}

async fn pull(
    State(app): State<App>,
    Running(caller): Running,
    Path((dag, run, task_id, tail)): Names,
    params: Params,
) -> Result<Response, Refusal> {
    let names = (dag, run, task_id);
    let options = PullOptions { include_prior_dates: params.flag("include_prior_dates")? };
    match Asked::of(&tail) {
        Asked::Item(key, position) => {
            let position = integer(position, &["path", "offset"])?;
            item(&app, &caller, &sequence(names, key)?, position).await?.text(&app, &caller).await
        }
        Asked::Slice(key) => {
            let slice = Slice {
                start: params.integer("start")?,
                stop: params.integer("stop")?,
                // As Airflow has it.
                step: params.integer("step")?.filter(|step| *step != 0),
            };
            elements(&app, &caller, &sequence(names, key)?, slice, options).await
        }
        Asked::Value(key) => {
            let map_index = params.map_index("map_index", i128::MIN)?;
            if let Some(position) = params.integer("offset")? {
                let found = item(&app, &caller, &sequence(names, key)?, position).await?;
                return found.entry(&app, &caller, key).await;
            }
            let found = single(&app, &caller, read(names, map_index, key)?, options).await?;
            found.entry(&app, &caller, key).await
        }
    }
}

async fn single(app: &App, caller: &Caller, key: XComKey, options: PullOptions) -> Result<Found, Refusal> {
    let asked = std::slice::from_ref(&key);
    let answer = app.engine.pull_within(caller, asked, options, &mut WHOLE.clone()).await?.pop();
    Found::of(app, answer.unwrap_or(Answer::Absent(Box::new(key))))
}

/// The element at a position; of a task that is not mapped its only value is the first, and the last.
async fn item(app: &App, caller: &Caller, key: &SequenceKey, position: i64) -> Result<Found, Refusal> {
    let only = Slice::item(position);
    if let Some((_, answer)) = app.engine.slice_within(caller, key, only, &mut WHOLE.clone()).await?.pop() {
        return Found::of(app, answer);
    }
    let none = || Refusal::not_found(format!("{key} has no element at position {position}"));
    if !matches!(position, 0 | -1) {
        return Err(none());
    }
    single(app, caller, key.at(UNMAPPED), PullOptions::default())
        .await
        .map_err(|refusal| if refusal.is_none() { none() } else { refusal })
}

/// The elements of a slice as a JSON array; of a task that is not mapped, its only value.
async fn elements(
    app: &App,
    caller: &Caller,
    key: &SequenceKey,
    slice: Slice,
    options: PullOptions,
) -> Result<Response, Refusal> {
    let mut whole = WHOLE;
    if slice != Slice::ALL && !options.include_prior_dates {
        let found = app.engine.slice_within(caller, key, slice, &mut whole).await?;
        if !found.is_empty() || app.engine.count(caller, key).await? > 0 {
            let found = found.into_iter().map(|(_, answer)| Found::of(app, answer));
            return Ok(array(app, caller, found.collect::<Result<_, _>>()?));
        }
    }
    let produced =
        app.engine.pull_tasks_within(caller, std::slice::from_ref(key), options, &mut whole).await?.pop();
    let all: Vec<Answer> = match produced {
        Some(TaskAnswer::Mapped { items, .. }) => items.into_iter().map(|(_, answer)| answer).collect(),
        Some(TaskAnswer::Single(answer)) => Vec::from([answer]),
        _ => Vec::new(),
    };
    let all: Vec<Found> = all
        .into_iter()
        .map(|answer| Found::of(app, answer))
        .filter(|found| !found.as_ref().is_err_and(Refusal::is_none))
        .collect::<Result<_, _>>()?;
    let positions = slice.positions(all.len() as u64)?;
    Ok(array(app, caller, positions.map(|place| all[place as usize].clone()).collect()))
}

async fn count(
    State(app): State<App>,
    Running(caller): Running,
    Path((dag, run, task_id, key)): Names,
    params: Params,
) -> Result<Response, Refusal> {
    if params.integer::<i128>("map_index")?.is_some() {
        let message = "Cannot specify map_index in a HEAD request";
        return Err(Refusal::because(StatusCode::BAD_REQUEST, "invalid_request", message));
    }
    let key = sequence((dag, run, task_id), &key)?;
    let mut count = app.engine.count(&caller, &key).await?;
    if count == 0 {
        let only = app.engine.db().entries(&[key.at(UNMAPPED)]).await?;
        count = only.iter().flatten().count() as u64;
    }
    Ok([(header::CONTENT_RANGE, format!("map_indexes {count}"))].into_response())
}

/// Whether a task instance is there, for whoever is another one: pushing makes none.
async fn known(app: &App, caller: &Caller, ti: &TaskInstanceKey) -> Result<(), Refusal> {
    if matches!(caller, Caller::Attempt(attempt) if attempt.ti == *ti) {
        return Ok(());
    }
    if app.engine.task_instance(ti).await?.is_some() {
        return Ok(());
    }
    if app.engine.db().run_info(&ti.dag_id, &ti.run_id).await?.is_none() {
        let message = format!("DAG run not found on DAG '{}' with ID '{}'", ti.dag_id, ti.run_id);
        return Err(Refusal::plain(StatusCode::NOT_FOUND, message));
    }
    Err(Refusal::not_found(format!("there is no task instance {ti}")))
}

async fn push(
    State(app): State<App>,
    Running(caller): Running,
    Path((dag, run, task_id, key)): Names,
    params: Params,
    head: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let key = xcom((dag, run, task_id), params.map_index("map_index", i128::MIN)?, &key)?;
    let is_result = params.flag("dag_result")?;
    if params.count("mapped_length")?.is_some_and(|length| length > app.options.max_map_length) {
        return Err(Refusal::because(
            StatusCode::BAD_REQUEST,
            "unmappable_return_value_length",
            "pushed value is too large to map as a downstream's dependency",
        ));
    }
    let value = match body.is_empty() {
        true => Value::null(),
        false if is_json(&head) => Value::parse(body).map_err(|error| {
            Refusal::unprocessable("json_invalid", &["body"], error.to_string(), json!({}))
        })?,
        false => return Err(not_json()),
    };
    known(&app, &caller, &key.ti).await?;
    app.metrics.pushed(match is_result {
        true => app.engine.push_result(&caller, &key, value.into()).await,
        false => app.engine.push(&caller, &key, value.into()).await,
    })?;
    Ok(document(StatusCode::CREATED, &json!({"message": "XCom successfully set"})))
}

async fn clear(
    State(app): State<App>,
    Running(caller): Running,
    Path((dag, run, task_id, key)): Names,
    params: Params,
) -> Result<Response, Refusal> {
    let message = format!("XCom with key: {key} successfully deleted.");
    if let Ok(key) = xcom((dag, run, task_id), params.map_index("map_index", i128::MIN)?, &key) {
        app.engine.clear(&caller, &Scope::Key(key)).await?;
    }
    Ok(document(StatusCode::OK, &json!({"message": message})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_hold_what_looks_like_a_part_of_a_sequence() {
        for (tail, asked) in [
            ("rows", Asked::Value("rows")),
            ("a/b", Asked::Value("a/b")),
            ("rows/slice", Asked::Slice("rows")),
            ("rows/slice/", Asked::Value("rows/slice/")),
            ("slice", Asked::Value("slice")),
            ("a/item/0/slice", Asked::Slice("a/item/0")),
            ("rows/item/0", Asked::Item("rows", "0")),
            ("rows/item/-1", Asked::Item("rows", "-1")),
            ("rows/item/x", Asked::Item("rows", "x")),
            ("rows/item/0/", Asked::Value("rows/item/0/")),
            ("a/item/1/item/2", Asked::Item("a/item/1", "2")),
            ("item/0", Asked::Value("item/0")),
        ] {
            assert_eq!(Asked::of(tail), asked, "{tail}");
        }
    }
}
