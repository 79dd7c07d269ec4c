//! Answers as typed documents.

use excom_core::Answer;
use excom_core::engine::TaskAnswer;
use excom_core::entry::{Version, Writer};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

/// A value, or why there is none: `answer` tells which.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Body {
    Found {
        answer: &'static str,
        value: Box<RawValue>,
        version: Version,
        pushed_at: Timestamp,
        writer: Writer,
    },
    None {
        answer: &'static str,
        message: String,
        hints: Vec<String>,
        #[serde(flatten)]
        details: Map<String, Json>,
    },
    /// Everything that a mapped task produced.
    Mapped { answer: &'static str, items: Vec<Item>, length: u64 },
}

/// An element of a sequence, at its real map index.
#[derive(Debug, Serialize)]
pub(super) struct Item {
    map_index: i32,
    #[serde(flatten)]
    body: Body,
}

impl From<Answer> for Body {
    fn from(answer: Answer) -> Self {
        let code = answer.code();
        let raw = |text: &str| RawValue::from_string(text.to_owned());
        match answer.found().map(|found| (found, raw(found.value.as_str()))) {
            Some((found, Ok(value))) => {
                let (version, writer) = (found.version, found.writer.clone());
                Self::Found { answer: code, value, version, pushed_at: version.time(), writer }
            }
            _ => Self::None {
                answer: code,
                message: answer.to_string(),
                hints: answer.hints(),
                details: answer.details(),
            },
        }
    }
}

impl From<TaskAnswer> for Body {
    fn from(answer: TaskAnswer) -> Self {
        match answer {
            TaskAnswer::Mapped { items, length } => {
                let item = |(map_index, answer): (i32, Answer)| Item { map_index, body: answer.into() };
                Self::Mapped { answer: "mapped", items: items.into_iter().map(item).collect(), length }
            }
            TaskAnswer::Single(answer) => answer.into(),
            _ => Self::Mapped { answer: "mapped", items: Vec::new(), length: 0 },
        }
    }
}

/// The answers of which a task's is made.
pub(super) fn elements(answer: &TaskAnswer) -> Box<dyn Iterator<Item = &Answer> + '_> {
    match answer {
        TaskAnswer::Single(answer) => Box::new(std::iter::once(answer)),
        TaskAnswer::Mapped { items, .. } => Box::new(items.iter().map(|(_, answer)| answer)),
        _ => Box::new(std::iter::empty()),
    }
}
