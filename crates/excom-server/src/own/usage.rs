//! How much the values of a DAG, and of one of its runs, have together, and may have.

use std::sync::Arc;

use axum::extract::State;
use excom_core::engine::Used;
use schemars::JsonSchema;
use serde::Deserialize;

use super::names::{OfRun, unknown_run};
use super::openapi::Reply;
use crate::app::App;
use crate::auth::Asking;
use crate::refusal::Refusal;
use crate::request::Path;

/// A DAG.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OfDag {
    #[schemars(length(min = 1, max = 250))]
    dag_id: Arc<str>,
}

pub(super) async fn of_dag(
    State(app): State<App>,
    asking: Asking,
    Path(OfDag { dag_id }): Path<OfDag>,
) -> Result<Reply<Used>, Refusal> {
    match app.engine.usage(&asking.caller, &dag_id, None).await? {
        Some(used) => Ok(Reply::ok(used)),
        None => Err(Refusal::not_found(format!("no run of DAG {dag_id} is known"))),
    }
}

pub(super) async fn of_run(
    State(app): State<App>,
    asking: Asking,
    Path(run): Path<OfRun>,
) -> Result<Reply<Used>, Refusal> {
    let (dag_id, run_id) = run.ids()?;
    match app.engine.usage(&asking.caller, &dag_id, Some(&run_id)).await? {
        Some(used) => Ok(Reply::ok(used)),
        None => Err(unknown_run(&dag_id, &run_id)),
    }
}
