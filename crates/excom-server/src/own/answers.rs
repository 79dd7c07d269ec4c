//! Answers as typed documents.

use excom_core::answer::{Answer, Near};
use excom_core::engine::TaskAnswer;
use excom_core::entry::{EndReason, PastEntry, Version, Writer};
use excom_core::{TaskState, XComKey};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

/// A value, or why there is none: `answer` tells which.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Answer")]
pub(super) enum Body {
    Found(Found),
    None(Absence),
    Mapped(Mapped),
}

/// A value.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Found {
    #[schemars(extend("enum" = ["found", "null"]))]
    answer: &'static str,
    #[schemars(schema_with = "super::openapi::anything")]
    value: Box<RawValue>,
    version: Version,
    pushed_at: Timestamp,
    writer: Writer,
    /// It was pushed as a secret: it is to be shown nowhere, and pushed on only as one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
}

/// Why there is no value.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Absence {
    #[schemars(extend("enum" = ["missing", "not_yet", "skipped", "cleared", "expired", "forbidden", "corrupt", "lost",
                                "unavailable", "absent", "large"]))]
    answer: &'static str,
    /// For people.
    message: String,
    /// What to do next, most useful first.
    hints: Vec<String>,
    #[serde(flatten)]
    #[schemars(with = "Details")]
    details: Map<String, Json>,
}

/// What is known besides; which parts there are depends on the answer.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is described; `Answer::details` makes it")]
struct Details {
    /// Which XCom.
    key: Option<XComKey>,
    /// The state of its task instance.
    state: Option<TaskState>,
    /// What exists near it.
    near: Option<Near>,
    /// When and why an earlier value went.
    earlier: Option<(Timestamp, EndReason)>,
    /// When it went.
    at: Option<Timestamp>,
    /// By what it went.
    by: Option<String>,
    /// What it was.
    last: Option<PastEntry>,
    /// The rule that forbids it.
    rule: Option<String>,
    version: Option<Version>,
    writer: Option<Writer>,
    /// What was expected of the stored bytes, and what was found.
    what: Option<String>,
    /// Bytes of its JSON text.
    size: Option<u64>,
}

/// Everything that a mapped task produced.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Mapped {
    #[schemars(extend("enum" = ["mapped"]))]
    answer: &'static str,
    pub(super) items: Vec<Item>,
    /// One more than the highest map index; not told of a long sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    /// There is more behind this map index: go on with `/sequences`, and this as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i32>,
}

/// An element of a sequence, at its real map index.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Item {
    map_index: i32,
    #[serde(flatten)]
    body: Body,
}

impl Item {
    pub(super) fn of((map_index, answer): (i32, Answer)) -> Self {
        Self { map_index, body: answer.into() }
    }
}

impl Mapped {
    /// As many elements as fit, and where to go on.
    pub(super) fn of(mut items: Vec<(i32, Answer)>, length: Option<u64>, more: bool) -> Self {
        let fits = items.iter().take_while(|(_, answer)| !matches!(answer, Answer::Large(_))).count();
        let more = more || fits < items.len();
        items.truncate(fits);
        let last = items.last().map_or(-1, |(map_index, _)| *map_index);
        let items = items.into_iter().map(Item::of).collect();
        Self { answer: "mapped", items, length, next: more.then_some(last) }
    }
}

impl From<Answer> for Body {
    fn from(answer: Answer) -> Self {
        let code = answer.code();
        let raw = |text: &str| RawValue::from_string(text.to_owned());
        match answer.found().map(|found| (found, raw(found.value.as_str()))) {
            Some((found, Ok(value))) => {
                let (version, writer, secret) =
                    (found.version, found.writer.clone(), found.value.is_secret());
                Self::Found(Found { answer: code, value, version, pushed_at: version.time(), writer, secret })
            }
            _ => {
                let mut hints = answer.hints();
                if matches!(answer, Answer::Large(_)) {
                    hints.push(
                        "GET /api/excom/v1/values/{dag_id}/{run_id}/{task_id}/{map_index}/{key}".to_owned(),
                    );
                }
                Self::None(Absence {
                    answer: code,
                    message: answer.to_string(),
                    hints,
                    details: answer.details(),
                })
            }
        }
    }
}

impl From<TaskAnswer> for Body {
    fn from(answer: TaskAnswer) -> Self {
        match answer {
            TaskAnswer::Mapped { items, length } => Self::Mapped(Mapped::of(items, Some(length), false)),
            TaskAnswer::Single(answer) => answer.into(),
            _ => Self::Mapped(Mapped::of(Vec::new(), None, false)),
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
