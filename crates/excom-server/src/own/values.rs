//! One XCom's value as a stream, and what it was before.

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use excom_core::db::Scope;
use excom_core::{Answer, ByteStream, Error, ErrorKind, Payload, Version, XComKey};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::{Refusal, document};
use crate::request::{Params, Path};

/// The version of a value: the idempotency token of a push, which may then be repeated.
const VERSION: HeaderName = HeaderName::from_static("excom-version");

/// DAG, run, task, map index and key of a path.
type Names = Path<(String, String, String, i32, String)>;

fn xcom((dag, run, task, map_index, key): (String, String, String, i32, String)) -> Result<XComKey, Refusal> {
    Ok(XComKey::new(dag, run, task, map_index, key)?)
}

/// The value's JSON text. One that turns out damaged on its way is cut off, never ended.
pub(super) async fn read(
    State(app): State<App>,
    asking: Asking,
    Path(names): Names,
) -> Result<Response, Refusal> {
    let key = xcom(names)?;
    let refused = |answer: Answer| {
        app.metrics.answered(&answer);
        Refusal::of_answer(&answer)
    };
    let payload = app.engine.open(&asking.caller, &key).await?.map_err(refused)?;
    let body = match payload {
        Payload::Value(value) => Body::from(value.bytes().clone()),
        other => Body::from_stream(other.into_stream()),
    };
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

/// Pushes the request's body.
pub(super) async fn write(
    State(app): State<App>,
    asking: Asking,
    Path(names): Names,
    head: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    asking.may_write()?;
    let key = xcom(names)?;
    let broken =
        |cause| Error::new(ErrorKind::InvalidRequest, "the request's body ended early").because(cause);
    let body: BodyDataStream = body.into_data_stream();
    let stream: ByteStream = Box::pin(body.map_err(broken).fuse());
    let payload = Payload::Stream(stream);
    let receipt = match head.get(VERSION) {
        Some(version) => {
            let version: Version = version.to_str().unwrap_or_default().parse()?;
            app.engine.push_version(&asking.caller, &key, version, payload).await?
        }
        None => app.engine.push(&asking.caller, &key, payload).await?,
    };
    let status = if receipt.already { StatusCode::OK } else { StatusCode::CREATED };
    Ok(document(status, &receipt))
}

/// Moves the XCom to the history; with `forever` it goes with its history and bytes.
pub(super) async fn clear(
    State(app): State<App>,
    asking: Asking,
    Path(names): Names,
    params: Params,
) -> Result<Response, Refusal> {
    asking.may_write()?;
    let scope = Scope::Key(xcom(names)?);
    params.only(&["forever"])?;
    Ok(if params.flag("forever")? {
        asking.at_least(Role::Admin)?;
        let deleted = app.engine.delete(&asking.caller, &scope).await?;
        document(StatusCode::OK, &json!({"deleted": deleted}))
    } else {
        let cleared = app.engine.clear(&asking.caller, &scope).await?;
        document(StatusCode::OK, &json!({"cleared": cleared}))
    })
}

/// Earlier versions, newest first.
pub(super) async fn history(
    State(app): State<App>,
    asking: Asking,
    Path(names): Names,
    params: Params,
) -> Result<Response, Refusal> {
    params.only(&["limit"])?;
    let limit = params.integer::<u32>("limit")?.unwrap_or(50).min(1000);
    let history = app.engine.history(&asking.caller, &xcom(names)?, limit).await?;
    Ok(document(StatusCode::OK, &json!({"history": history})))
}
