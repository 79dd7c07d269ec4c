//! Runs and their task instances, for who looks at them.

use std::sync::Arc;

use axum::extract::State;
use excom_core::attempt::TaskInstanceInfo;
use excom_core::run::{DagRun, RunFilter, RunInfo, RunState};
use excom_core::{Error, ErrorKind};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::names::{OfRun, unknown_run};
use super::openapi::Reply;
use super::page::Filling;
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::Refusal;
use crate::request::{Path, Query};

/// The most runs of a page: each may have parameters of a megabyte.
const MOST_RUNS: u32 = 100;

/// The most task instances of a page.
const MOST_INSTANCES: u32 = 1000;

/// Which runs are listed; parts that are not said match everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    dag_id: Option<Arc<str>>,
    state: Option<RunState>,
    /// The most runs; 20 when it is not said, never more than 100. A page of large parameters has fewer.
    limit: Option<u32>,
    /// Go on with those before this one, the `next` of the page before: its date,
    before_date: Option<Timestamp>,
    /// its DAG,
    before_dag_id: Option<Arc<str>>,
    /// and its id.
    before_run_id: Option<Arc<str>>,
}

/// A run, and how it stands.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunShown {
    dag_id: Arc<str>,
    run_id: Arc<str>,
    /// Null for one that was never started, only pushed into.
    state: Option<RunState>,
    logical_date: Option<Timestamp>,
    run_after: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    /// The version of the DAG that it runs.
    version: Option<Arc<str>>,
    /// Its parameters.
    #[schemars(with = "Option<Json>")]
    conf: Option<Box<RawValue>>,
}

impl RunShown {
    fn of(info: RunInfo) -> Result<Self, Refusal> {
        let RunInfo { run, state, started_at, ended_at } = info;
        let DagRun { dag_id, run_id, logical_date, run_after, conf, version } = run;
        let raw = |conf: excom_core::Value| RawValue::from_string(conf.as_str().to_owned());
        let conf = conf.map(raw).transpose().map_err(|cause| {
            Error::new(ErrorKind::Corrupt, format!("the parameters of run {run_id} of {dag_id} are not JSON"))
                .because(cause)
        })?;
        Ok(Self { dag_id, run_id, state, logical_date, run_after, started_at, ended_at, version, conf })
    }
}

/// Where a page of runs ended.
#[derive(Debug, Serialize, JsonSchema)]
struct Before {
    date: Timestamp,
    dag_id: Arc<str>,
    run_id: Arc<str>,
}

/// A page of runs, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Runs {
    items: Vec<RunShown>,
    /// What to give as `before_date`, `before_dag_id` and `before_run_id` for the next page; null at the end.
    next: Option<Before>,
}

pub(super) async fn list(
    State(app): State<App>,
    asking: Asking,
    Query(listed): Query<Listed>,
) -> Result<Reply<Runs>, Refusal> {
    asking.at_least(Role::Read)?;
    let Listed { dag_id, state, limit, before_date, before_dag_id, before_run_id } = listed;
    let before = match (before_date, before_dag_id, before_run_id) {
        (Some(date), Some(dag_id), Some(run_id)) => Some(DagRun::new(dag_id, run_id, date)),
        (None, None, None) => None,
        _ => {
            let message = "before_date, before_dag_id and before_run_id go together";
            return Err(Refusal::unprocessable("missing", &["query", "before_date"], message, ()));
        }
    };
    let limit = limit.unwrap_or(20).clamp(1, MOST_RUNS);
    let filter = RunFilter { dag_id, state };
    let size = |info: &RunInfo| info.run.conf.as_ref().map_or(0, |conf| conf.as_str().len());
    let mut filling = Filling::new(limit, app.options.body_limit, size);
    while let Some(wanted) = filling.wanted() {
        let before = filling.last().map(|last| &last.run).or(before.as_ref());
        let found = app.engine.db().runs(&filter, before, wanted).await?;
        filling.add(found, wanted);
    }
    let (runs, more) = filling.page();
    let last = runs.last().filter(|_| more).map(|last| &last.run);
    let next =
        last.map(|run| Before { date: run.date(), dag_id: run.dag_id.clone(), run_id: run.run_id.clone() });
    Ok(Reply::ok(Runs { items: runs.into_iter().map(RunShown::of).collect::<Result<_, _>>()?, next }))
}

pub(super) async fn show(
    State(app): State<App>,
    asking: Asking,
    Path(run): Path<OfRun>,
) -> Result<Reply<RunShown>, Refusal> {
    asking.at_least(Role::Read)?;
    let (dag_id, run_id) = run.ids()?;
    match app.engine.db().run_info(&dag_id, &run_id).await? {
        Some(info) => RunShown::of(info).map(Reply::ok),
        None => Err(unknown_run(&dag_id, &run_id)),
    }
}

/// Which task instances of a run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Instances {
    /// Those behind this one, the last of the page before: its task,
    after_task_id: Option<Arc<str>>,
    /// and its map index; -1 when it is not said.
    #[schemars(range(min = -1))]
    after_map_index: Option<i32>,
    /// The most task instances; 100 when it is not said, never more than 1000.
    limit: Option<u32>,
}

/// A page of task instances. Those of a task are together, in order of map index.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct InstancesShown {
    /// Fewer than asked for at the end.
    items: Vec<TaskInstanceInfo>,
}

pub(super) async fn instances(
    State(app): State<App>,
    asking: Asking,
    Path(run): Path<OfRun>,
    Query(Instances { after_task_id, after_map_index, limit }): Query<Instances>,
) -> Result<Reply<InstancesShown>, Refusal> {
    asking.at_least(Role::Read)?;
    let (dag_id, run_id) = run.ids()?;
    let after = after_task_id.as_deref().map(|task_id| (task_id, after_map_index.unwrap_or(-1)));
    let limit = limit.unwrap_or(100).clamp(1, MOST_INSTANCES);
    let items = app.engine.db().task_instances(&dag_id, &run_id, after, limit).await?;
    Ok(Reply::ok(InstancesShown { items }))
}
