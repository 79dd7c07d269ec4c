//! How much the values of a DAG, and of one of its runs, have together, and may have.

use std::sync::Arc;

use axum::extract::State;
use excom_core::engine::Used;
use excom_core::{TaskInstanceKey, UNMAPPED};
use schemars::JsonSchema;
use serde::Deserialize;

use super::names::OfRun;
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
    TaskInstanceKey::new(dag_id.clone(), "_", "_", UNMAPPED)?;
    Ok(Reply::ok(app.engine.usage(&asking.caller, &dag_id, None).await?))
}

pub(super) async fn of_run(
    State(app): State<App>,
    asking: Asking,
    Path(run): Path<OfRun>,
) -> Result<Reply<Used>, Refusal> {
    let (dag_id, run_id) = run.ids()?;
    Ok(Reply::ok(app.engine.usage(&asking.caller, &dag_id, Some(&run_id)).await?))
}
