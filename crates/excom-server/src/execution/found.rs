//! Values on their way into an answer: at hand, or so large that they are read while they are answered. One that turns out
//! damaged on its way is cut off, never ended.

use std::future::ready;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use excom_core::{Answer, ByteStream, Caller, Error, Result, Value, XComKey};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value as Json;

use crate::app::App;
use crate::refusal::{Refusal, text_of};

/// The most bytes of values that are read before they are answered, so that damage is told with a status.
pub(super) const WHOLE: u64 = 16 << 20;

/// A value that was found.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Whole(Value),
    /// It did not fit into [`WHOLE`].
    Large(XComKey),
}

impl Found {
    /// What a pull within [`WHOLE`] was answered.
    pub(super) fn of(app: &App, answer: Answer) -> Result<Self, Refusal> {
        if let Answer::Large(large) = answer {
            return Ok(Self::Large(large.key));
        }
        app.metrics.answered(&answer);
        if answer.found().is_none() {
            return Err(Refusal::of_answer(&answer));
        }
        Ok(Self::Whole(answer.value()?))
    }

    /// The value's text.
    pub(super) async fn text(self, app: &App, caller: &Caller) -> Result<Response, Refusal> {
        self.between(app, caller, "", "").await
    }

    /// `{"key": …, "value": …}` around the value's text.
    pub(super) async fn entry(self, app: &App, caller: &Caller, key: &str) -> Result<Response, Refusal> {
        let before = format!("{{\"key\":{},\"value\":", Json::from(key));
        self.between(app, caller, &before, "}").await
    }

    async fn between(
        self,
        app: &App,
        caller: &Caller,
        before: &str,
        after: &'static str,
    ) -> Result<Response, Refusal> {
        let key = match self {
            Self::Whole(value) => {
                let mut text = BytesMut::with_capacity(before.len() + value.bytes().len() + after.len());
                for part in [before.as_bytes(), value.bytes(), after.as_bytes()] {
                    text.extend_from_slice(part);
                }
                return Ok(text_of(StatusCode::OK, text.freeze()));
            }
            Self::Large(key) => key,
        };
        let opened = match app.engine.open_version(caller, &key).await? {
            Ok(opened) => opened,
            Err(answer) => {
                app.metrics.answered(&answer);
                return Err(Refusal::of_answer(&answer));
            }
        };
        app.metrics.opened(&opened);
        let around = |text: Bytes| stream::once(ready(Ok(text)));
        let before = around(Bytes::copy_from_slice(before.as_bytes()));
        let text =
            before.chain(opened.payload.into_stream()).chain(around(Bytes::from_static(after.as_bytes())));
        Ok(text_of(StatusCode::OK, Body::from_stream(text)))
    }
}

/// Values as a JSON array. Large ones are read one after the other, each when it is its turn.
pub(super) fn array(app: &App, caller: &Caller, found: Vec<Found>) -> Response {
    let (app, caller) = (app.clone(), caller.clone());
    let large = found.iter().any(|found| matches!(found, Found::Large(_)));
    let comma = |place: usize| if place == 0 { &b"["[..] } else { b"," };
    if large {
        let elements = stream::iter(found.into_iter().enumerate()).then(move |(place, found)| {
            let (app, caller) = (app.clone(), caller.clone());
            async move {
                let text: ByteStream = match found {
                    Found::Whole(value) => Box::pin(stream::once(ready(Ok(value.bytes().clone())))),
                    Found::Large(key) => match app.engine.open_version(&caller, &key).await? {
                        Ok(opened) => {
                            app.metrics.opened(&opened);
                            opened.payload.into_stream()
                        }
                        Err(answer) => {
                            app.metrics.answered(&answer);
                            Box::pin(stream::once(ready(answer.value().map(|value| value.bytes().clone()))))
                        }
                    },
                };
                Ok::<_, Error>(stream::once(ready(Ok(Bytes::from_static(comma(place))))).chain(text))
            }
        });
        let end = stream::once(ready(Ok(Bytes::from_static(b"]"))));
        return text_of(StatusCode::OK, Body::from_stream(elements.try_flatten().chain(end)));
    }
    let mut text = BytesMut::from(if found.is_empty() { &b"["[..] } else { b"" });
    for (place, found) in found.into_iter().enumerate() {
        if let Found::Whole(value) = found {
            text.extend_from_slice(comma(place));
            text.extend_from_slice(value.bytes());
        }
    }
    text.extend_from_slice(b"]");
    text_of(StatusCode::OK, text.freeze())
}
