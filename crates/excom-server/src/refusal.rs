//! What is answered when a request is not done: always a document, with the content type that Airflow's client insists
//! on before it looks inside.

use axum::BoxError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use excom_core::{Answer, Error, ErrorKind, TaskState};
use serde_json::{Value as Json, json};

/// A request that is not done.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    status: StatusCode,
    detail: Json,
}

impl Refusal {
    /// A status with a text.
    pub(crate) fn plain(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, detail: Json::String(text.into()) }
    }

    /// A status with a reason that programs know and a message for people.
    pub(crate) fn because(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { status, detail: json!({"reason": reason, "message": message}) }
    }

    /// More for programs to know, in a refusal that has a reason.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        if let Json::Object(detail) = &mut self.detail {
            detail.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Parts of the request that cannot be understood, as Airflow lists them.
    pub(crate) fn listed(parts: Vec<Json>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, detail: Json::Array(parts) }
    }

    /// Whether it says that there is none.
    pub(crate) fn is_none(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// Whether what was sent can never be taken, whoever sends it again.
    pub(crate) fn is_for_good(&self) -> bool {
        matches!(self.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY)
    }

    /// A part of the request that cannot be understood.
    pub(crate) fn unprocessable(
        kind: &str,
        place: &[&str],
        message: impl Into<String>,
        input: impl Into<Json>,
    ) -> Self {
        let (message, input): (String, Json) = (message.into(), input.into());
        Self::listed(vec![json!({"type": kind, "loc": place, "msg": message, "input": input})])
    }

    /// What is asked does not go together with the state that a task instance is in.
    pub(crate) fn invalid_state(state: TaskState, message: impl Into<String>) -> Self {
        Self::because(StatusCode::CONFLICT, "invalid_state", message).with("previous_state", state.name())
    }

    /// A name that is empty.
    pub(crate) fn empty(place: &[&str]) -> Self {
        Self::unprocessable("string_too_short", place, "String should have at least 1 character", "")
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::because(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Why there is no value. One that is wrong or lost must be neither "none" (404) nor tried again (5xx).
    pub(crate) fn of_answer(answer: &Answer) -> Self {
        let status = match answer {
            Answer::Expired(_) | Answer::Lost(_) => StatusCode::GONE,
            Answer::Forbidden(_) => StatusCode::FORBIDDEN,
            Answer::Corrupt(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Answer::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Answer::Large(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::NOT_FOUND,
        };
        // The reason that clients of Airflow know for "none".
        let reason = if status == StatusCode::NOT_FOUND { "not_found" } else { answer.code() };
        let mut refusal = Self::because(status, reason, answer.to_string());
        if status == StatusCode::NOT_FOUND {
            refusal = refusal.with("answer", answer.code());
        }
        refusal.hinted(answer.hints())
    }

    /// What ends an answer that has begun.
    pub(crate) fn into_error(self) -> BoxError {
        self.detail.to_string().into()
    }

    fn hinted(self, hints: Vec<String>) -> Self {
        if hints.is_empty() { self } else { self.with("hints", hints) }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if let Some(answer) = error.answer() {
            return Self::of_answer(answer);
        }
        let status = match error.kind() {
            ErrorKind::InvalidName | ErrorKind::InvalidValue => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Superseded | ErrorKind::NotStarted | ErrorKind::Exists => StatusCode::CONFLICT,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::InvalidRequest => StatusCode::BAD_REQUEST,
            ErrorKind::NoValue => StatusCode::NOT_FOUND,
            ErrorKind::Lost => StatusCode::GONE,
            ErrorKind::Corrupt => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Unavailable
            | ErrorKind::ReadOnly
            | ErrorKind::Incompatible
            | ErrorKind::Configuration => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::because(status, error.code(), error.to_string()).hinted(error.hints().to_vec())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = document(self.status, &json!({"detail": self.detail}));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A document as an answer.
pub(crate) fn document(status: StatusCode, body: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => text_of(status, text),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// JSON text as an answer.
pub(crate) fn text_of(status: StatusCode, text: impl Into<axum::body::Body>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text.into())
        .into_response()
}
