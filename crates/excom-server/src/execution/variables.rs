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
use crate::request::{Declared, Params, Path};

pub(super) fn router() -> Router<App> {
    // A variable of this name can be set and deleted, as in Airflow, but not read.
    let named = |key: &str| Path(key.to_owned());
    Router::new()
        .route("/variables/", get(no_key).put(no_key).delete(no_key))
        .route(
            "/variables/keys",
            get(keys)
                .put(move |app, caller, text| set(app, caller, named("keys"), text))
                .delete(move |app, caller| delete(app, caller, named("keys"))),
        )
        .route("/variables/{*key}", get(read).put(set).delete(delete))
}

async fn no_key() -> Refusal {
    Refusal::empty(&["path", "variable_key"])
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
    Declared(SetVariable { val, description }): Declared<SetVariable>,
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
    // Texts come with them, each of which may have a mebibyte.
    const PAGE: u32 = 64;
    let prefix = params.text("prefix").unwrap_or_default();
    let limit = params.integer("limit")?.unwrap_or(1000_usize);
    let offset = params.count("offset")?.map_or(0, |offset| usize::try_from(offset).unwrap_or(usize::MAX));
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
