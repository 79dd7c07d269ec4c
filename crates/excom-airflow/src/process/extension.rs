//! What Excom's own supervisor and task say to each other beyond Airflow's protocol.
//!
//! The supervisor announces it in `StartupDetails`, under a key that Airflow's never has; a task that finds
//! no announcement keeps to Airflow's messages. Values travel as JSON text, so that they arrive to the byte.

use std::sync::Arc;
use std::time::Duration;

use excom_core::answer::{Damaged, Ended, Forbidden, Found, Missing, NotYet};
use excom_core::engine::{Receipt, TaskAnswer};
use excom_core::entry::Writer;
use excom_core::{Answer, Error, ErrorKind, Result, SequenceKey, Slice, Value, Version, XComKey};
use excom_flow::{Failure, SkipDownstream};
use rmpv::Value as MessagePack;
use serde::{Deserialize, Serialize};

use super::message::ErrorResponse;

/// The version of what is in this file.
pub(crate) const VERSION: u32 = 1;

/// That the supervisor is Excom's, and what only it can tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) version: u32,
    /// The run's parameters, all of them.
    pub(crate) params: Vec<(String, Text)>,
    /// Where Excom keeps its data: a path's bytes.
    pub(crate) home: Option<Vec<u8>>,
}

/// A value as its JSON text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Text(pub(crate) Value);

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0.as_str().to_owned()
    }
}

impl TryFrom<String> for Text {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Value::parse(text).map(Self)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pull {
    pub(crate) keys: Vec<XComKey>,
    pub(crate) include_prior_dates: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PullTasks {
    pub(crate) keys: Vec<SequenceKey>,
    pub(crate) include_prior_dates: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Push {
    pub(crate) key: XComKey,
    pub(crate) value: Text,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TakeSlice {
    pub(crate) key: SequenceKey,
    pub(crate) slice: Slice,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NoteRendered {
    pub(crate) fields: Vec<(String, Text)>,
}

/// How the task ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) end: Ending,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Success { skips: Option<Skips> },
    Skipped { reason: Option<String> },
    Failed { message: String, hints: Vec<String> },
    Reschedule { after: Duration },
}

/// A [`SkipDownstream`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Skips {
    AllBut(Vec<String>),
    Direct,
    All,
}

impl Skips {
    /// # Errors
    /// For a choice that is newer than this protocol.
    pub(crate) fn of(skips: SkipDownstream) -> Result<Self> {
        match skips {
            SkipDownstream::AllBut(chosen) => Ok(Self::AllBut(chosen)),
            SkipDownstream::Direct => Ok(Self::Direct),
            SkipDownstream::All => Ok(Self::All),
            other => Err(unknown(&other)),
        }
    }
}

impl From<Skips> for SkipDownstream {
    fn from(skips: Skips) -> Self {
        match skips {
            Skips::AllBut(chosen) => Self::AllBut(chosen),
            Skips::Direct => Self::Direct,
            Skips::All => Self::All,
        }
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failed { message: failure.message, hints: failure.hints }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answers {
    pub(crate) answers: Vec<AnswerOnWire>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskAnswers {
    pub(crate) answers: Vec<TaskAnswerOnWire>,
}

/// Elements of a sequence, each with its real map index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Items {
    pub(crate) items: Vec<(i32, AnswerOnWire)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pushed {
    pub(crate) receipt: Receipt,
}

/// An [`Answer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum AnswerOnWire {
    Found { value: Text, version: Version, writer: Writer },
    Null { version: Version, writer: Writer },
    Missing(Box<Missing>),
    NotYet(Box<NotYet>),
    Skipped(Box<XComKey>),
    Cleared(Box<Ended>),
    Expired(Box<Ended>),
    Forbidden(Box<Forbidden>),
    Corrupt(Box<Damaged>),
    Lost(Box<Damaged>),
    Unavailable(Box<Damaged>),
    Absent(Box<XComKey>),
}

impl AnswerOnWire {
    /// # Errors
    /// For an answer that is newer than this protocol.
    pub(crate) fn of(answer: Answer) -> Result<Self> {
        Ok(match answer {
            Answer::Found(found) => {
                Self::Found { value: Text(found.value), version: found.version, writer: found.writer }
            }
            Answer::Null(found) => Self::Null { version: found.version, writer: found.writer },
            Answer::Missing(missing) => Self::Missing(missing),
            Answer::NotYet(not_yet) => Self::NotYet(not_yet),
            Answer::Skipped(key) => Self::Skipped(key),
            Answer::Cleared(ended) => Self::Cleared(ended),
            Answer::Expired(ended) => Self::Expired(ended),
            Answer::Forbidden(forbidden) => Self::Forbidden(forbidden),
            Answer::Corrupt(damaged) => Self::Corrupt(damaged),
            Answer::Lost(damaged) => Self::Lost(damaged),
            Answer::Unavailable(damaged) => Self::Unavailable(damaged),
            Answer::Absent(key) => Self::Absent(key),
            other => return Err(unknown(&other)),
        })
    }

    /// Several at once.
    pub(crate) fn all(answers: Vec<(i32, Answer)>) -> Result<Vec<(i32, Self)>> {
        answers.into_iter().map(|(index, answer)| Ok((index, Self::of(answer)?))).collect()
    }
}

impl From<AnswerOnWire> for Answer {
    fn from(answer: AnswerOnWire) -> Self {
        match answer {
            AnswerOnWire::Found { value: Text(value), version, writer } => {
                Self::Found(Found { value, version, writer })
            }
            AnswerOnWire::Null { version, writer } => {
                Self::Null(Found { value: Value::null(), version, writer })
            }
            AnswerOnWire::Missing(missing) => Self::Missing(missing),
            AnswerOnWire::NotYet(not_yet) => Self::NotYet(not_yet),
            AnswerOnWire::Skipped(key) => Self::Skipped(key),
            AnswerOnWire::Cleared(ended) => Self::Cleared(ended),
            AnswerOnWire::Expired(ended) => Self::Expired(ended),
            AnswerOnWire::Forbidden(forbidden) => Self::Forbidden(forbidden),
            AnswerOnWire::Corrupt(damaged) => Self::Corrupt(damaged),
            AnswerOnWire::Lost(damaged) => Self::Lost(damaged),
            AnswerOnWire::Unavailable(damaged) => Self::Unavailable(damaged),
            AnswerOnWire::Absent(key) => Self::Absent(key),
        }
    }
}

/// A [`TaskAnswer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum TaskAnswerOnWire {
    Single(AnswerOnWire),
    Mapped { items: Vec<(i32, AnswerOnWire)>, length: u64 },
}

impl TaskAnswerOnWire {
    /// # Errors
    /// As [`AnswerOnWire::of`].
    pub(crate) fn of(answer: TaskAnswer) -> Result<Self> {
        match answer {
            TaskAnswer::Single(answer) => Ok(Self::Single(AnswerOnWire::of(answer)?)),
            TaskAnswer::Mapped { items, length } => {
                Ok(Self::Mapped { items: AnswerOnWire::all(items)?, length })
            }
            other => Err(unknown(&other)),
        }
    }
}

impl From<TaskAnswerOnWire> for TaskAnswer {
    fn from(answer: TaskAnswerOnWire) -> Self {
        match answer {
            TaskAnswerOnWire::Single(answer) => Self::Single(answer.into()),
            TaskAnswerOnWire::Mapped { items, length } => {
                let items = items.into_iter().map(|(index, answer)| (index, answer.into())).collect();
                Self::Mapped { items, length }
            }
        }
    }
}

fn unknown(what: &impl std::fmt::Debug) -> Error {
    Error::new(ErrorKind::Incompatible, format!("the process protocol has no words for {what:?}"))
}

/// An error of the engine, in the detail of an `ErrorResponse`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ErrorOnWire {
    kind: Arc<str>,
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
            let kind = KINDS.into_iter().find(|kind| kind.code() == &*error.kind);
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

#[cfg(test)]
mod tests {
    use excom_core::answer::Near;
    use excom_core::attempt::TaskState;
    use excom_core::entry::{EndReason, EntryInfo, PastEntry};
    use excom_core::value::ContentHash;

    use super::super::frame::{self, Frame};
    use super::super::message::Reply;
    use super::*;

    fn round_trip(response: &Reply) -> Reply {
        let frame = frame::answer(&0.into(), Some(response), None::<&()>).unwrap();
        frame::message(Frame::decode(&frame[4..]).unwrap().body).unwrap()
    }

    #[test]
    fn answers_arrive_with_their_cause_and_to_the_byte() {
        let key = XComKey::new("d", "r", "t", 3, "k").unwrap();
        let version = Version::new("2026-11-21T10:00:00Z".parse().unwrap(), 7);
        let value = Value::parse("{\"b\": 123456789012345678901234567890, \"a\":1.0}").unwrap();
        let info = EntryInfo {
            key: key.clone(),
            version,
            writer: Writer::Task(key.ti.clone()),
            size: 4,
            hash: ContentHash(u64::MAX),
            shape: value.shape(),
            preview: "…".into(),
            offloaded: true,
        };
        let at = version.time();
        let last =
            PastEntry { info, ended_at: at, reason: EndReason::Cleared, by: "try 2".into(), has_bytes: true };
        let near =
            Near { keys: vec!["kk".into()], tasks: vec![("u".into(), vec!["k".into()])], ..Near::default() };
        let damaged =
            Damaged { key: key.clone(), version, writer: Writer::Attempt(1), what: "cut off".into() };
        let found = Found { value, version, writer: Writer::User("ada".into()) };
        let answers = [
            Answer::Found(found.clone()),
            Answer::Null(Found { value: Value::null(), ..found }),
            Answer::Missing(Box::new(Missing { key: key.clone(), state: Some(TaskState::Success), near })),
            Answer::NotYet(Box::new(NotYet {
                key: key.clone(),
                state: TaskState::Running,
                earlier: Some((at, EndReason::Cleared)),
            })),
            Answer::Skipped(Box::new(key.clone())),
            Answer::Cleared(Box::new(Ended { key: key.clone(), at, by: "try 2".into(), last: last.clone() })),
            Answer::Expired(Box::new(Ended { key: key.clone(), at, by: "30d".into(), last })),
            Answer::Forbidden(Box::new(Forbidden {
                key: key.clone(),
                rule: "[xcom] reads = \"run\"".into(),
            })),
            Answer::Corrupt(Box::new(damaged.clone())),
            Answer::Lost(Box::new(damaged.clone())),
            Answer::Unavailable(Box::new(damaged)),
            Answer::Absent(Box::new(key)),
        ];
        let said: Vec<String> = answers.iter().map(|answer| format!("{answer:?}")).collect();
        let wire = answers.into_iter().map(AnswerOnWire::of).collect::<Result<_>>().unwrap();
        let Reply::ExcomAnswers(heard) = round_trip(&Reply::ExcomAnswers(Answers { answers: wire })) else {
            panic!("other messages than were sent")
        };
        let heard: Vec<String> =
            heard.answers.into_iter().map(|answer| format!("{:?}", Answer::from(answer))).collect();
        assert_eq!(heard, said);
    }

    #[test]
    fn errors_arrive_with_kind_and_hints() {
        let error = Error::new(ErrorKind::Superseded, "attempt 1 was replaced").hint("stop");
        let Reply::ErrorResponse(heard) = round_trip(&Reply::ErrorResponse(ErrorResponse::of(&error))) else {
            panic!("other messages than were sent")
        };
        let heard = heard.into_error();
        assert_eq!((heard.kind(), heard.to_string()), (ErrorKind::Superseded, error.to_string()));
        assert_eq!(heard.hints(), ["stop"]);
    }
}
