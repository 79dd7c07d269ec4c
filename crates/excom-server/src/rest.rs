//! `/api/v2`: XComs, the end of runs, variables, and what tasks ask people, as Airflow's REST API has them, for people and programs.

mod hitl;
mod list;
mod one;
mod page;
mod patterns;
mod variables;
mod wait;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use excom_airflow::rest::XComEntry;
use excom_core::{DagRun, Version, XComKey};

use crate::app::App;
use crate::auth::EVERYBODY;
use crate::gate::{Gate, pass};

pub(crate) fn router(app: &App) -> Router<App> {
    let entries = "/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries";
    Router::new()
        .route(entries, get(list::list).post(one::create))
        .route(&format!("{entries}/{{*xcom_key}}"), get(one::read).patch(one::update).delete(one::delete))
        .route(
            "/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
            get(hitl::read).patch(hitl::update),
        )
        .route("/dags/{dag_id}/dagRuns/{dag_run_id}/wait", get(wait::wait))
        .route("/variables", get(variables::list).post(variables::create))
        .route("/variables/", get(variables::no_key).patch(variables::no_key).delete(variables::no_key))
        .route(
            "/variables/{*variable_key}",
            get(variables::read).patch(variables::update).delete(variables::delete),
        )
        .route_layer(from_fn_with_state(Gate::for_tokens(app, &EVERYBODY), pass))
}

/// An XCom as the API shows it, without its value.
fn entry(key: &XComKey, version: Version, run: Option<&DagRun>) -> XComEntry {
    let ti = &key.ti;
    XComEntry {
        key: key.key.clone(),
        timestamp: version.time(),
        logical_date: run.and_then(|run| run.logical_date),
        map_index: ti.map_index,
        task_id: ti.task_id.clone(),
        dag_id: ti.dag_id.clone(),
        run_id: ti.run_id.clone(),
        dag_display_name: ti.dag_id.clone(),
        task_display_name: ti.task_id.clone(),
        run_after: run.map(|run| run.run_after),
        value: None,
    }
}
