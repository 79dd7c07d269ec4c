//! `/execution/variables`: text that all DAGs share.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use excom_airflow::execution::SetVariable;
use serde_json::json;

use crate::app::App;
use crate::auth::Running;
use crate::refusal::{Refusal, document};
use crate::request::{Document, Params, Path};

pub(super) fn router() -> Router<App> {
    Router::new().route("/keys", get(keys)).route("/{*key}", get(read).put(set).delete(delete))
}

async fn read(
    State(app): State<App>,
    Running(caller): Running,
    Path(key): Path<String>,
) -> Result<Response, Refusal> {
    match app.engine.variable(&caller, &key).await? {
        Some(found) => Ok(document(StatusCode::OK, &json!({"key": key, "value": found.text}))),
        None => Err(Refusal::not_found(format!("Variable with key '{key}' not found"))),
    }
}

async fn set(
    State(app): State<App>,
    Running(caller): Running,
    Path(key): Path<String>,
    Document(SetVariable { val, description }): Document<SetVariable>,
) -> Result<Response, Refusal> {
    // What Airflow stores of nothing.
    let text = val.as_deref().unwrap_or("None");
    app.engine.set_variable(&caller, &key, text, description.as_deref()).await?;
    Ok(document(StatusCode::CREATED, &json!({"message": "Variable successfully set"})))
}

async fn delete(
    State(app): State<App>,
    Running(caller): Running,
    Path(key): Path<String>,
) -> Result<StatusCode, Refusal> {
    app.engine.delete_variable(&caller, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keys that begin with a text, in their order.
async fn keys(State(app): State<App>, Running(caller): Running, params: Params) -> Result<Response, Refusal> {
    const PAGE: u32 = 1000;
    let prefix = params.text("prefix").unwrap_or_default();
    let (limit, offset) =
        (params.integer("limit")?.unwrap_or(1000_usize), params.integer("offset")?.unwrap_or(0));
    if !(1..=10_000).contains(&limit) {
        let message = "Input should be from 1 to 10000";
        return Err(Refusal::unprocessable("value_error", &["query", "limit"], message, limit));
    }
    let (mut found, mut total, mut after) = (Vec::new(), 0, None::<String>);
    loop {
        let page = app.engine.variables(&caller, prefix, after.as_deref(), PAGE).await?;
        for variable in &page {
            if total >= offset && found.len() < limit {
                found.push(variable.key.clone());
            }
            total += 1;
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after = Some(last.key.to_string()),
            _ => break,
        }
    }
    Ok(document(StatusCode::OK, &json!({"keys": found, "total_entries": total})))
}
