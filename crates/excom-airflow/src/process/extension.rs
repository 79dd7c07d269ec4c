//! What Excom's own supervisor and task say to each other beyond Airflow's protocol.
//!
//! The supervisor announces it in `StartupDetails`, under a key that Airflow's never has; a task that finds
//! no announcement keeps to Airflow's messages. Values travel as JSON text, so that they arrive to the byte.

mod facts;

use std::sync::Arc;
use std::time::Duration;

use excom_core::answer::{Damaged, Ended, Forbidden, Found, Missing, NotYet};
use excom_core::engine::{Receipt, TaskAnswer};
use excom_core::entry::Writer;
use excom_core::{Answer, Error, ErrorKind, Result, SequenceKey, Slice, Value, Version, XComKey};
use excom_flow::runner::isolation::Done;
use excom_flow::{Failure, Reschedule, SensorTimeout, Skip};
use serde::{Deserialize, Serialize};

pub(crate) use facts::{ResumedOnWire, RunOnWire};

/// The version of what is in this file.
pub(crate) const VERSION: u32 = 4;

/// That the supervisor is Excom's, and what only it can tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) version: u32,
    /// What all task instances of the run share.
    pub(crate) run: RunOnWire,
    /// How the try came to run again, when it had let its place go.
    pub(crate) resumed: ResumedOnWire,
    /// How many instances a task may have that is expanded over what this one returns.
    pub(crate) max_map_length: u32,
    /// Which of the keys that its DAG declares settings make secrets of.
    pub(crate) secret_keys: Vec<Arc<str>>,
}

impl Announcement {
    /// # Errors
    /// When the supervisor speaks another version of these messages.
    pub(crate) fn check(&self) -> Result<()> {
        if self.version == VERSION {
            return Ok(());
        }
        let message = format!(
            "the supervisor speaks version {} of Excom's messages, and the task version {VERSION}",
            self.version
        );
        Err(Error::new(ErrorKind::Incompatible, message).hint("build both with the same version of Excom"))
    }
}

/// A value as its JSON text; a secret as a dict with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "TextOnWire", try_from = "TextOnWire")]
pub(crate) struct Text(pub(crate) Value);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TextOnWire {
    Plain(String),
    Secret { secret: String },
}

impl From<Text> for TextOnWire {
    fn from(text: Text) -> Self {
        let secret = text.0.is_secret();
        let text = text.0.as_str().to_owned();
        if secret { Self::Secret { secret: text } } else { Self::Plain(text) }
    }
}

impl TryFrom<TextOnWire> for Text {
    type Error = Error;

    fn try_from(text: TextOnWire) -> Result<Self> {
        match text {
            TextOnWire::Plain(text) => Value::parse(text).map(Self),
            TextOnWire::Secret { secret } => Value::parse(secret).map(Value::into_secret).map(Self),
        }
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
pub(crate) struct TakeIndexes {
    pub(crate) key: SequenceKey,
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
    Success { pushes: Vec<(XComKey, Text)>, skips: Vec<Arc<str>> },
    Skipped { reason: Option<String> },
    Failed { message: String, hints: Vec<String> },
    Reschedule { after: Duration },
    TimedOut(SensorTimeout),
}

impl Ending {
    /// How a body ended that returned.
    pub(crate) fn of(result: excom_flow::Result<Done>) -> Self {
        let error = match result {
            Ok(Done { pushes, skips, .. }) => {
                let pushes = pushes.into_iter().map(|(key, value)| (key, Text(value))).collect();
                return Self::Success { pushes, skips };
            }
            Err(error) => error,
        };
        if let Some(skip) = error.downcast_ref::<Skip>() {
            return Self::Skipped { reason: skip.reason().map(str::to_owned) };
        }
        if let Some(reschedule) = error.downcast_ref::<Reschedule>() {
            return Self::Reschedule { after: reschedule.delay() };
        }
        if let Some(timeout) = error.downcast_ref::<SensorTimeout>() {
            return Self::TimedOut(timeout.clone());
        }
        let failure = Failure::of(&*error);
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

/// The map indexes at which a sequence has elements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Indexes {
    pub(crate) indexes: Vec<i32>,
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

#[cfg(test)]
mod tests;
