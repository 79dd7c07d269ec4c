//! The version of the DAG that a run runs: kept with its contract, and compared when a run goes on.

use excom_core::db::DagRun;
use excom_core::{Engine, Result};

use crate::contract::{Contract, Versioned, diff};

/// Keeps the version that a run runs.
pub(super) async fn note(engine: &Engine, run: &DagRun, versioned: &Versioned) -> Result<()> {
    let at = engine.clock().now();
    engine.db().note_dag_version(&run.dag_id, &versioned.version, &versioned.document, at).await
}

/// What to say about a run that began with another version than the one with which it goes on.
pub(super) async fn differs(engine: &Engine, run: &DagRun, versioned: &Versioned) -> Result<Option<String>> {
    let Some(before) = run.version.as_ref().filter(|before| **before != versioned.version) else {
        return Ok(None);
    };
    let began = format!(
        "the run began with version {before} of the DAG and goes on with version {}",
        versioned.version
    );
    let Some(kept) = engine.db().dag_version(&run.dag_id, before).await? else {
        return Ok(Some(format!("{began}; how the DAG was then is not kept any more")));
    };
    let Ok(old) = Contract::read(&kept.document) else {
        return Ok(Some(format!("{began}; how the DAG was then cannot be read")));
    };
    let breaking: Vec<String> = diff(&old, &versioned.contract)
        .into_iter()
        .filter(|change| change.breaks.contains(&crate::contract::Breaks::OldValues))
        .map(|change| change.to_string())
        .collect();
    Ok(Some(match breaking.as_slice() {
        [] => format!("{began}; nothing in it breaks what the run has"),
        breaking => format!("{began}, which breaks what the run has: {}", breaking.join("; ")),
    }))
}
