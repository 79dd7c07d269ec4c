//! One XCom's value as a stream, in both directions; and its end.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use excom_core::backend::collect;
use excom_core::db::Scope;
use excom_core::engine::{Receipt, SECRET_LIMIT};
use excom_core::{Answer, ByteStream, Error, ErrorKind, Payload, Version};
use futures_util::stream::iter;
use futures_util::{StreamExt as _, TryStreamExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::OfXCom;
use super::openapi::Reply;
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::{Refusal, text_of};
use crate::request::{Path, Query, within};

/// The version of a value: the idempotency token of a push, which may then be repeated.
const VERSION: HeaderName = HeaderName::from_static("excom-version");

/// That a value is a secret, in both directions.
const SECRET: HeaderName = HeaderName::from_static("excom-secret");

/// How far from now a version may have been drawn: its time is that of the push, from which retention counts.
const DRAWN: Duration = Duration::from_secs(24 * 60 * 60);

/// What the head of a push may have.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is described; the handler looks for it")]
pub(super) struct PushHead {
    /// Names the push, which may then be repeated: it is pushed once.
    #[schemars(rename = "Excom-Version")]
    version: Option<Version>,
    /// Whether it is a secret, of at most 1 MiB.
    #[schemars(rename = "Excom-Secret")]
    secret: Option<bool>,
}

/// Which version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfVersion {
    /// An earlier one, while its bytes are kept.
    version: Option<Version>,
}

/// The value's JSON text. One that turns out damaged on its way is cut off, never ended.
pub(super) async fn read(
    State(app): State<App>,
    method: Method,
    asking: Asking,
    Path(xcom): Path<OfXCom>,
    Query(OfVersion { version: past }): Query<OfVersion>,
) -> Result<Response, Refusal> {
    let key = xcom.key()?;
    if let Some(version) = past {
        let found = app.engine.pull_past(&asking.caller, &key, version).await?;
        let none = || Refusal::not_found(format!("the bytes of version {version} of {key} are not kept"));
        return Ok(answered(version, found.ok_or_else(none)?.into()));
    }
    let refused = |answer: Answer| {
        app.metrics.answered(&answer);
        Refusal::of_answer(&answer)
    };
    let opened = app.engine.open_version(&asking.caller, &key).await?.map_err(refused)?;
    app.metrics.opened(&opened);
    let payload = match opened.payload {
        // What is damaged at its beginning, and so any value of one frame, is told with a status.
        Payload::Stream(mut stream) => {
            let first = stream.next().await.transpose()?;
            Payload::Stream(Box::pin(iter(first.map(Ok)).chain(stream)))
        }
        other => other,
    };
    let streamed = matches!(payload, Payload::Stream(_));
    let mut answer = answered(opened.version, payload);
    // With its length in the head, a stream whose damage shows at its end would seem whole. What is no stream has its length
    // by itself: that of its text, where `size` is that of a secret's envelope.
    if streamed && method == Method::HEAD {
        answer.headers_mut().insert(header::CONTENT_LENGTH, opened.size.into());
    }
    Ok(answer)
}

/// A value as an answer, whose head tells what its text does not.
fn answered(version: Version, payload: Payload) -> Response {
    let secret = matches!(&payload, Payload::Value(value) if value.is_secret());
    let body = match payload {
        Payload::Value(value) => Body::from(value.bytes().clone()),
        other => Body::from_stream(other.into_stream()),
    };
    let mut answer = text_of(StatusCode::OK, body);
    if let Ok(version) = HeaderValue::try_from(version.to_string()) {
        answer.headers_mut().insert(VERSION, version);
    }
    if secret {
        answer.headers_mut().insert(SECRET, HeaderValue::from_static("true"));
    }
    answer
}

/// Pushes the request's body.
pub(super) async fn write(
    State(app): State<App>,
    asking: Asking,
    Path(xcom): Path<OfXCom>,
    head: HeaderMap,
    body: Body,
) -> Result<Reply<Receipt>, Refusal> {
    asking.may_write()?;
    let key = xcom.key()?;
    let broken =
        |cause| Error::new(ErrorKind::InvalidRequest, "the request's body ended early").because(cause);
    let body: BodyDataStream = body.into_data_stream();
    let stream: ByteStream = Box::pin(body.map_err(broken).fuse());
    let secret = match head.get(SECRET).map(HeaderValue::as_bytes) {
        Some(b"true") => true,
        Some(b"false") | None => app.engine.is_secret(&key.key),
        Some(_) => {
            let message = "`true` for a secret, `false` otherwise";
            return Err(Refusal::unprocessable("bool_parsing", &["header", "Excom-Secret"], message, ()));
        }
    };
    let payload = match secret {
        // It is whole in memory while it is sealed.
        true => {
            let secret = within(&app, collect(Payload::Stream(stream), SECRET_LIMIT)).await??;
            secret.into_secret().into()
        }
        false => Payload::Stream(stream),
    };
    let receipt = match head.get(&VERSION) {
        Some(version) => {
            let version: Version = version.to_str().unwrap_or_default().parse()?;
            let now = app.engine.clock().now();
            if version.time().duration_since(now).unsigned_abs() > DRAWN {
                let message = format!(
                    "version {version} says that it was drawn at {:.0}, which is not now: its first 42 bits are the \
                     milliseconds since 2020",
                    version.time()
                );
                return Err(Refusal::unprocessable("value_error", &["header", "Excom-Version"], message, ()));
            }
            app.metrics.pushed(app.engine.push_version(&asking.caller, &key, version, payload).await)?
        }
        None => app.metrics.pushed(app.engine.push(&asking.caller, &key, payload).await)?,
    };
    let status = if receipt.already { StatusCode::OK } else { StatusCode::CREATED };
    Ok(Reply(status, receipt))
}

/// How XComs end.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// Delete them with their history and bytes, for which it takes the role `admin`; without they are cleared, which
    /// keeps the history.
    #[serde(default)]
    forever: bool,
}

/// How many XComs ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "EndedXComs")]
pub(super) enum Ended {
    /// They are in the history.
    Cleared(u64),
    /// They are gone; earlier versions count too.
    Deleted(u64),
}

/// Moves XComs to the history, or deletes them with all of it.
pub(super) async fn end(
    app: &App,
    asking: &Asking,
    scope: &Scope,
    how: End,
) -> Result<Reply<Ended>, Refusal> {
    if how.forever {
        asking.at_least(Role::Admin)?;
        return Ok(Reply::ok(Ended::Deleted(app.engine.delete(&asking.caller, scope).await?)));
    }
    asking.may_write()?;
    Ok(Reply::ok(Ended::Cleared(app.engine.clear(&asking.caller, scope).await?)))
}

pub(super) async fn clear(
    State(app): State<App>,
    asking: Asking,
    Path(xcom): Path<OfXCom>,
    Query(how): Query<End>,
) -> Result<Reply<Ended>, Refusal> {
    end(&app, &asking, &Scope::Key(xcom.key()?), how).await
}
