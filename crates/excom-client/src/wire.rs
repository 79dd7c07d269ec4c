//! Answers as the server writes them, and as the engine gives them.

use std::sync::Arc;

use excom_core::answer::{Damaged, Ended, Forbidden, Found, Large, Missing, Near, NotYet};
use excom_core::entry::{EndReason, PastEntry, Version, Writer};
use excom_core::{Answer, Error, ErrorKind, Result, SequenceKey, TaskState, Value, XComKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One XCom of a pull; without a map index everything that the task produced.
#[derive(Serialize)]
pub(crate) struct One<'a> {
    dag_id: &'a str,
    run_id: &'a str,
    task_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_index: Option<i32>,
    key: &'a str,
}

impl<'a> From<&'a XComKey> for One<'a> {
    fn from(XComKey { ti, key, .. }: &'a XComKey) -> Self {
        let map_index = Some(ti.map_index);
        Self { dag_id: &ti.dag_id, run_id: &ti.run_id, task_id: &ti.task_id, map_index, key }
    }
}

impl<'a> From<&'a SequenceKey> for One<'a> {
    fn from(SequenceKey { dag_id, run_id, task_id, key, .. }: &'a SequenceKey) -> Self {
        Self { dag_id, run_id, task_id, map_index: None, key }
    }
}

/// A pull.
#[derive(Serialize)]
pub(crate) struct Pull<'a> {
    pub(crate) xcoms: Vec<One<'a>>,
    pub(crate) include_prior_dates: bool,
}

/// What a pull is answered, in the order asked.
#[derive(Deserialize)]
pub(crate) struct Answers<'a> {
    #[serde(borrow)]
    pub(crate) answers: Vec<Body<'a>>,
}

/// A wait.
#[derive(Serialize)]
pub(crate) struct Wait<'a> {
    pub(crate) xcoms: Vec<One<'a>>,
    pub(crate) seconds: u64,
}

/// What a wait is answered.
#[derive(Deserialize)]
pub(crate) struct Waited<'a> {
    #[serde(borrow)]
    pub(crate) answers: Vec<Body<'a>>,
    pub(crate) pending: Vec<usize>,
}

/// A page of a sequence.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(borrow)]
    pub(crate) items: Vec<Body<'a>>,
    pub(crate) next: Option<i32>,
}

/// An answer: which parts there are depends on which one it is. Values are taken as they are written.
#[derive(Deserialize)]
pub(crate) struct Body<'a> {
    answer: String,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    version: Option<Version>,
    writer: Option<Writer>,
    #[serde(default)]
    secret: bool,
    /// Where it is among the elements of a sequence.
    map_index: Option<i32>,
    #[serde(borrow)]
    items: Option<Vec<Body<'a>>>,
    length: Option<u64>,
    next: Option<i32>,
    key: Option<XComKey>,
    state: Option<TaskState>,
    near: Option<Near>,
    earlier: Option<(Timestamp, EndReason)>,
    at: Option<Timestamp>,
    by: Option<String>,
    last: Option<PastEntry>,
    rule: Option<String>,
    what: Option<String>,
    size: Option<u64>,
}

/// What a task produced, as far as it was told at once.
pub(crate) enum Produced {
    Single(Answer),
    Mapped {
        items: Vec<(i32, Answer)>,
        length: Option<u64>,
        /// The map index behind which there is more.
        next: Option<i32>,
    },
}

impl Body<'_> {
    /// The answer of one XCom.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] for one that is newer than this client, or lacks what belongs to it;
    /// [`ErrorKind::InvalidValue`] for a value that is none.
    pub(crate) fn answer(self) -> Result<Answer> {
        let which = self.answer.clone();
        let incomplete = || {
            Error::new(ErrorKind::Incompatible, format!("the server's answer `{which}` is not understood"))
                .hint("the client's version should be the server's, or newer")
        };
        let complete = self.complete(&which)?;
        complete.ok_or_else(incomplete)
    }

    fn complete(self, which: &str) -> Result<Option<Answer>> {
        let Self { value, version, writer, secret, key, state, size, .. } = self;
        if which == "found" || which == "null" {
            let value = match value {
                // A text of `null` reads as none.
                None if which == "null" => Value::null(),
                None => return Ok(None),
                Some(value) => Value::parse(value.get().to_owned())?,
            };
            let found = version.zip(writer).map(|(version, writer)| {
                let found = Found { value: value.secret_if(secret), version, writer };
                if found.value.is_null() { Answer::Null(found) } else { Answer::Found(found) }
            });
            return Ok(found);
        }
        let Some(key) = key else { return Ok(None) };
        let (near, earlier, rule) = (self.near, self.earlier, self.rule);
        let (at, by, last, what) = (self.at, self.by, self.last, self.what);
        let ended = |key: XComKey| Some(Box::new(Ended { key, at: at?, by: by?, last: last? }));
        let damaged = |key, version: Option<Version>, writer: Option<Writer>| {
            Some(Box::new(Damaged { key, version: version?, writer: writer?, what: what? }))
        };
        Ok(match which {
            "missing" => near.map(|near| Answer::Missing(Box::new(Missing { key, state, near }))),
            "not_yet" => state.map(|state| Answer::NotYet(Box::new(NotYet { key, state, earlier }))),
            "skipped" => Some(Answer::Skipped(Box::new(key))),
            "absent" => Some(Answer::Absent(Box::new(key))),
            "cleared" => ended(key).map(Answer::Cleared),
            "expired" => ended(key).map(Answer::Expired),
            "forbidden" => rule.map(|rule| Answer::Forbidden(Box::new(Forbidden { key, rule }))),
            "corrupt" => damaged(key, version, writer).map(Answer::Corrupt),
            "lost" => damaged(key, version, writer).map(Answer::Lost),
            "unavailable" => damaged(key, version, writer).map(Answer::Unavailable),
            "large" => version.zip(writer).zip(size).map(|((version, writer), size)| {
                Answer::Large(Box::new(Large { key, version, writer, size }))
            }),
            _ => None,
        })
    }

    /// The answer of an element, at its map index.
    ///
    /// # Errors
    /// As [`Body::answer`].
    pub(crate) fn element(self) -> Result<(i32, Answer)> {
        let map_index = self.map_index.ok_or_else(|| {
            Error::new(ErrorKind::Incompatible, "the server tells an element without its map index")
        })?;
        Ok((map_index, self.answer()?))
    }

    /// What a task produced.
    ///
    /// # Errors
    /// As [`Body::answer`].
    pub(crate) fn produced(self) -> Result<Produced> {
        let Self { items: Some(items), length, next, .. } = self else {
            return self.answer().map(Produced::Single);
        };
        let items = items.into_iter().map(Self::element).collect::<Result<_>>()?;
        Ok(Produced::Mapped { items, length, next })
    }
}

/// A key of a DAG, a run and others, where each may be left open.
#[derive(Serialize, Default)]
pub(crate) struct List<'a> {
    pub(crate) dag_id: Option<&'a Arc<str>>,
    pub(crate) run_id: Option<&'a Arc<str>>,
    pub(crate) task_id: Option<&'a Arc<str>>,
    pub(crate) map_index: Option<i32>,
    pub(crate) key: Option<&'a Arc<str>>,
    pub(crate) after: Option<&'a XComKey>,
    pub(crate) limit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_to_the_byte() {
        let text = r#"{"answer": "found", "value": {"b": 1.0, "a": 12345678901234567890123}, "version": "0c5b1e7a40000001",
            "pushed_at": "2026-11-21T10:00:00Z", "writer": {"attempt": 2}, "secret": true, "new": 1}"#;
        let answer = serde_json::from_str::<Body<'_>>(text).unwrap().answer().unwrap();
        let found = answer.found().unwrap();
        assert_eq!(found.value.as_str(), r#"{"b": 1.0, "a": 12345678901234567890123}"#);
        assert!(found.value.is_secret());
        assert_eq!(found.writer, Writer::Attempt(2));
        let null = r#"{"answer": "null", "value": null, "version": "0c5b1e7a40000001", "writer": "outside"}"#;
        let null = serde_json::from_str::<Body<'_>>(null).unwrap().answer().unwrap();
        assert!(matches!(null, Answer::Null(_)), "{null:?}");
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        for text in [
            r#"{"answer": "found", "value": 1}"#,
            r#"{"answer": "postponed", "key": {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "key": "k"}}"#,
            r#"{"answer": "missing"}"#,
        ] {
            let error = serde_json::from_str::<Body<'_>>(text).unwrap().answer().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{text}");
        }
    }
}
