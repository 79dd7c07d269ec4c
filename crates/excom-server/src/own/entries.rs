//! What is known of XComs beside their values: lists, previews, history and traces; and the end of those of a task
//! instance.

use std::sync::Arc;

use axum::extract::State;
use excom_core::db::{Filter, Scope};
use excom_core::engine::{Direction, Trace, TraceOptions};
use excom_core::entry::PastEntry;
use excom_core::{Answer, Caller, EntryInfo, PullOptions, Version, XComKey};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{OfInstance, OfXCom};
use super::openapi::Reply;
use super::values::{End, Ended, end};
use crate::app::App;
use crate::auth::Asking;
use crate::refusal::Refusal;
use crate::request::{Document, Path, Query};

/// An XCom without its value.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Preview {
    #[serde(flatten)]
    info: EntryInfo,
    pushed_at: Timestamp,
}

pub(super) async fn preview(
    State(app): State<App>,
    asking: Asking,
    Path(xcom): Path<OfXCom>,
) -> Result<Reply<Preview>, Refusal> {
    let key = xcom.key()?;
    let exactly = Filter {
        dag_id: Some(key.ti.dag_id.clone()),
        run_id: Some(key.ti.run_id.clone()),
        task_id: Some(key.ti.task_id.clone()),
        map_index: Some(key.ti.map_index),
        key: Some(key.key.clone()),
    };
    match app.engine.list(&asking.caller, &exactly, None, 1).await?.items.pop() {
        Some(info) => Ok(Reply::ok(Preview { pushed_at: info.pushed_at(), info })),
        None => Err(none(&app, &asking.caller, key).await?),
    }
}

/// Which XComs are listed; parts that are not said match everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "List")]
pub(super) struct Listed {
    dag_id: Option<Arc<str>>,
    run_id: Option<Arc<str>>,
    task_id: Option<Arc<str>>,
    #[schemars(range(min = -1))]
    map_index: Option<i32>,
    key: Option<Arc<str>>,
    /// Go on behind this one, the `next` of the page before.
    after: Option<XComKey>,
    /// The most XComs; 100 when it is not said, never more than 1000.
    limit: Option<u32>,
}

/// A page of XComs without their values, in order of DAG, run, task, map index and key.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Entries {
    items: Vec<Preview>,
    /// What to give as `after` for the next page; null at the end.
    next: Option<XComKey>,
}

pub(super) async fn list(
    State(app): State<App>,
    asking: Asking,
    Document(listed): Document<Listed>,
) -> Result<Reply<Entries>, Refusal> {
    let Listed { dag_id, run_id, task_id, map_index, key, after, limit } = listed;
    let filter = Filter { dag_id, run_id, task_id, map_index, key };
    let limit = limit.unwrap_or(100).clamp(1, 1000);
    let page = app.engine.list(&asking.caller, &filter, after.as_ref(), limit).await?;
    let items = page.items.into_iter().map(|info| Preview { pushed_at: info.pushed_at(), info }).collect();
    Ok(Reply::ok(Entries { items, next: page.next }))
}

/// Why there is no value. Nothing is loaded, should there be one by now.
async fn none(app: &App, caller: &Caller, key: XComKey) -> Result<Refusal, Refusal> {
    let key = std::slice::from_ref(&key);
    let answer = app.engine.pull_within(caller, key, PullOptions::default(), &mut 0).await?.pop();
    Ok(Refusal::of_answer(&answer.unwrap_or_else(|| Answer::Absent(Box::new(key[0].clone())))))
}

/// How much of a history.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Newest {
    /// The most versions; 50 when it is not said, never more than 1000.
    limit: Option<u32>,
}

/// Earlier versions.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct History {
    /// The newest first.
    history: Vec<PastEntry>,
}

pub(super) async fn history(
    State(app): State<App>,
    asking: Asking,
    Path(xcom): Path<OfXCom>,
    Query(Newest { limit }): Query<Newest>,
) -> Result<Reply<History>, Refusal> {
    let limit = limit.unwrap_or(50).min(1000);
    let history = app.engine.history(&asking.caller, &xcom.key()?, limit).await?;
    Ok(Reply::ok(History { history }))
}

/// Which way a trace goes, and how far.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Way {
    /// `backwards` to what whoever pushed it had read, which is the default; `forwards` to who read it.
    direction: Option<Direction>,
    /// Of this version; of the entry, or the last one, when it is not said.
    version: Option<Version>,
    /// How many values deep; 100 when it is not said, and never more.
    depth: Option<u32>,
    /// How many children a node has at most; 20 when it is not said, never more than 100.
    children: Option<u32>,
}

/// Where a value came from, or what came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Traced {
    direction: Direction,
    trace: Trace,
}

pub(super) async fn trace(
    State(app): State<App>,
    asking: Asking,
    Path(xcom): Path<OfXCom>,
    Query(Way { direction, version, depth, children }): Query<Way>,
) -> Result<Reply<Traced>, Refusal> {
    let (key, standard) = (xcom.key()?, TraceOptions::backwards());
    let direction = direction.unwrap_or(standard.direction);
    let options = TraceOptions {
        direction,
        depth: depth.unwrap_or(standard.depth).min(100),
        children: children.unwrap_or(standard.children).min(100),
    };
    if let Some(trace) = app.engine.trace(&asking.caller, &key, version, options).await? {
        return Ok(Reply::ok(Traced { direction, trace }));
    }
    Err(match version {
        Some(version) => Refusal::not_found(format!("{key} has no version {version}")),
        None => none(&app, &asking.caller, key).await?,
    })
}

/// Ends all XComs of a task instance.
pub(super) async fn clear_instance(
    State(app): State<App>,
    asking: Asking,
    Path(instance): Path<OfInstance>,
    Query(how): Query<End>,
) -> Result<Reply<Ended>, Refusal> {
    end(&app, &asking, &Scope::TaskInstance(instance.key()?), how).await
}
