//! Errors on their way from a supervisor to a task.
//!
//! Airflow's words for them are a code and a detail of any form. Excom's supervisor puts the kind and the hints
//! of its own errors into the detail.

use excom_core::{Error, ErrorKind};
use rmpv::Value as MessagePack;
use serde::{Deserialize, Serialize};

use super::message::ErrorResponse;

/// An error of the engine, in the detail of an `ErrorResponse`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ErrorOnWire {
    kind: String,
    message: String,
    hints: Vec<String>,
}

/// The kinds that keep their name on the way; any other arrives as [`ErrorKind::Other`].
const KINDS: [ErrorKind; 16] = [
    ErrorKind::InvalidName,
    ErrorKind::InvalidValue,
    ErrorKind::TooLarge,
    ErrorKind::Superseded,
    ErrorKind::NotStarted,
    ErrorKind::Forbidden,
    ErrorKind::InvalidRequest,
    ErrorKind::Unavailable,
    ErrorKind::Full,
    ErrorKind::ReadOnly,
    ErrorKind::Exists,
    ErrorKind::Lost,
    ErrorKind::Corrupt,
    ErrorKind::Incompatible,
    ErrorKind::Configuration,
    ErrorKind::NoValue,
];

/// The key of an error of ours in the detail of an `ErrorResponse`.
const DETAIL: &str = "excom";

impl ErrorResponse {
    /// An error of the engine: for those who know only Airflow's words the message, and all of it for us.
    pub(crate) fn of(error: &Error) -> Self {
        let texts =
            |texts: &[String]| MessagePack::Array(texts.iter().map(|text| text.as_str().into()).collect());
        let ours = MessagePack::Map(vec![
            ("kind".into(), error.code().into()),
            ("message".into(), error.to_string().into()),
            ("hints".into(), texts(error.hints())),
        ]);
        let detail = vec![("message".into(), error.to_string().into()), (DETAIL.into(), ours)];
        Self { error: "GENERIC_ERROR".to_owned(), detail: Some(MessagePack::Map(detail)) }
    }

    /// The error that it says.
    pub(crate) fn into_error(self) -> Error {
        let field = |name: &str| match &self.detail {
            Some(detail @ MessagePack::Map(_)) => Some(&detail[name]).filter(|part| !part.is_nil()),
            _ => None,
        };
        if let Some(ours) = field(DETAIL)
            && let Ok(error) = rmpv::ext::from_value::<ErrorOnWire>(ours.clone())
        {
            let kind = KINDS.into_iter().find(|kind| kind.code() == error.kind);
            let base = Error::new(kind.unwrap_or(ErrorKind::Other), error.message);
            return error.hints.into_iter().fold(base, Error::hint);
        }
        let status = field("status_code").and_then(MessagePack::as_u64);
        let kind = match (self.error.as_str(), status) {
            ("PERMISSION_DENIED", _) | (_, Some(403)) => ErrorKind::Forbidden,
            ("XCOM_NOT_FOUND" | "VARIABLE_NOT_FOUND" | "CONNECTION_NOT_FOUND", _) => ErrorKind::NoValue,
            (_, Some(400 | 404 | 422)) => ErrorKind::InvalidRequest,
            (_, Some(413)) => ErrorKind::TooLarge,
            (_, Some(500..)) => ErrorKind::Unavailable,
            _ => ErrorKind::Other,
        };
        let detail = self.detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
        Error::new(kind, format!("the supervisor refused: {}{detail}", self.error))
    }
}
