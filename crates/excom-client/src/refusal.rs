//! What a server says when it does not do a request, as an error of the engine's.

use excom_core::{Error, ErrorKind};
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use serde::Deserialize;

/// A refusal.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: Error,
    status: StatusCode,
    /// The word for it that programs know.
    reason: Option<String>,
    /// Which answer it is, where there is no value.
    answer: Option<String>,
}

/// Reasons that are the answers of the same name.
const ANSWERS: [&str; 6] = ["expired", "forbidden", "corrupt", "lost", "unavailable", "large"];

/// The document that refuses.
#[derive(Deserialize)]
struct Document {
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Detail {
    Because {
        reason: String,
        message: String,
        #[serde(default)]
        hints: Vec<String>,
        answer: Option<String>,
    },
    Text(String),
    Parts(Vec<Part>),
}

/// A part of the request that was not understood.
#[derive(Deserialize)]
struct Part {
    loc: Vec<serde_json::Value>,
    msg: String,
}

impl Part {
    /// `body.xcoms: too many`.
    fn told(&self) -> String {
        let name = |part: &serde_json::Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
        let place: Vec<String> = self.loc.iter().map(name).collect();
        format!("{}: {}", place.join("."), self.msg)
    }
}

impl Refused {
    /// What a server at an address said.
    pub(crate) fn of(address: &str, status: StatusCode, text: &[u8], leads: Option<&HeaderValue>) -> Self {
        let (mut reason, mut answer) = (None, None);
        let error = match serde_json::from_slice::<Document>(text) {
            Ok(Document { detail: Detail::Because { reason: told, message, hints, answer: which } }) => {
                let kind = ErrorKind::from_code(&told).unwrap_or_else(|| kind(status));
                (reason, answer) = (Some(told), which);
                hints.into_iter().fold(Error::new(kind, message), Error::hint)
            }
            Ok(Document { detail: Detail::Parts(parts) }) => {
                let parts: Vec<String> = parts.iter().map(Part::told).collect();
                let message = format!("the server did not understand the request: {}", parts.join("; "));
                Error::new(kind(status), message)
            }
            Ok(Document { detail: Detail::Text(told) }) => said(address, status, &told),
            Err(_) => foreign(address, status, leads),
        };
        Self { error, status, reason, answer }
    }

    /// Whether it tells that there is no value, or one that cannot be given out: then a pull tells more.
    pub(crate) fn is_answer(&self) -> bool {
        self.answer.is_some() || self.reason.as_deref().is_some_and(|reason| ANSWERS.contains(&reason))
    }

    /// Whether it tells that nothing is there, or no more.
    pub(crate) fn is_none(&self) -> bool {
        self.reason.is_some() && matches!(self.status, StatusCode::NOT_FOUND | StatusCode::GONE)
    }
}

/// What is said in a text alone: about tokens, and routes that there are not.
fn said(address: &str, status: StatusCode, told: &str) -> Error {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Error::new(ErrorKind::Forbidden, format!("{address} refuses the token: {told}"))
                .hint("`excom token NAME` makes one, where the server's secret or key is")
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            let message = format!("{address} has no such route ({status}: {told})");
            Error::new(ErrorKind::Incompatible, message)
                .hint("check the server's address, and that its version is this client's or newer")
        }
        _ => Error::new(kind(status), format!("{address} refuses the request ({status}): {told}")),
    }
}

/// What somebody says who is no Excom: another server, or a proxy before one.
fn foreign(address: &str, status: StatusCode, leads: Option<&HeaderValue>) -> Error {
    if status.is_redirection() {
        let place = leads.and_then(|leads| leads.to_str().ok()).unwrap_or("another place");
        return Error::new(ErrorKind::Configuration, format!("{address} leads to {place}"))
            .hint("name the server's own address: a token is not sent where another one leads");
    }
    let message = format!("{address} answers {status}, and not as an Excom would");
    match kind(status) {
        kind @ (ErrorKind::Unavailable | ErrorKind::TooLarge | ErrorKind::Forbidden) => {
            Error::new(kind, message).hint("look at what is between here and the server")
        }
        _ => Error::new(ErrorKind::Incompatible, message).hint("check the server's address"),
    }
}

fn kind(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        400 | 422 => ErrorKind::InvalidRequest,
        401 | 403 => ErrorKind::Forbidden,
        404 => ErrorKind::NoValue,
        409 => ErrorKind::Exists,
        410 => ErrorKind::Lost,
        413 => ErrorKind::TooLarge,
        408 | 429 | 502 | 503 | 504 => ErrorKind::Unavailable,
        507 => ErrorKind::Full,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, text: &str) -> Refused {
        Refused::of("http://x", StatusCode::from_u16(status).unwrap(), text.as_bytes(), None)
    }

    #[test]
    fn a_refusal_is_the_error_that_the_engine_gave() {
        for (status, text, code, exit_code) in [
            (409, r#"{"detail": {"reason": "superseded", "message": "m"}}"#, "superseded", 5),
            (403, r#"{"detail": {"reason": "role", "message": "m"}}"#, "forbidden", 5),
            (403, r#"{"detail": "Invalid auth token: it expired"}"#, "forbidden", 5),
            (401, r#"{"detail": "Missing auth token"}"#, "forbidden", 5),
            (404, r#"{"detail": "Not Found"}"#, "incompatible", 1),
            (404, "<html>", "incompatible", 1),
            (200, "", "incompatible", 1),
            (301, "", "configuration", 1),
            (502, "<html>", "unavailable", 7),
            (503, r#"{"detail": {"reason": "configuration", "message": "m"}}"#, "configuration", 1),
            (503, r#"{"detail": {"reason": "keys", "message": "m"}}"#, "unavailable", 7),
            (507, r#"{"detail": {"reason": "full", "message": "m"}}"#, "full", 7),
            (413, r#"{"detail": {"reason": "too_many", "message": "m"}}"#, "too_large", 1),
            (
                422,
                r#"{"detail": [{"type": "t", "loc": ["body", 0], "msg": "m", "input": 1}]}"#,
                "invalid_request",
                1,
            ),
            (422, r#"{"detail": {"reason": "corrupt", "message": "m"}}"#, "corrupt", 6),
            (500, r#"{"detail": {"reason": "panic", "message": "m"}}"#, "other", 1),
        ] {
            let error = refused(status, text).error;
            assert_eq!((error.code(), error.exit_code()), (code, exit_code), "{status} {text}");
        }
        let told = refused(422, r#"{"detail": [{"loc": ["body", 0], "msg": "m"}]}"#).error.to_string();
        assert!(told.ends_with("body.0: m"), "{told}");
        let hinted = refused(404, r#"{"detail": {"reason": "not_found", "message": "m", "hints": ["h"]}}"#);
        assert_eq!(hinted.error.hints(), ["h"]);
    }

    #[test]
    fn what_an_answer_is_can_be_asked_for() {
        let none =
            refused(404, r#"{"detail": {"reason": "not_found", "message": "m", "answer": "missing"}}"#);
        assert!(none.is_answer() && none.is_none());
        let run = refused(404, r#"{"detail": {"reason": "not_found", "message": "m"}}"#);
        assert!(!run.is_answer() && run.is_none());
        let expired = refused(410, r#"{"detail": {"reason": "expired", "message": "m"}}"#);
        assert!(expired.is_answer() && expired.is_none());
        let role = refused(403, r#"{"detail": {"reason": "role", "message": "m"}}"#);
        assert!(!role.is_answer() && !role.is_none());
        assert!(!refused(404, r#"{"detail": "Not Found"}"#).is_none());
    }
}
