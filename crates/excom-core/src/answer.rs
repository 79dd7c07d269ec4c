//! Answers: what a pull returns, the value or why there is none.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::entry::{EndReason, PastEntry, Version, Writer};
use crate::value::Value;
use crate::value::secret::REDACTED;
use crate::{Error, ErrorKind, TaskState, XComKey};

/// The answer to a pull of one XCom.
///
/// Errors of a pull as a whole (a bad request) are [`Error`]s; whatever concerns one XCom is told
/// here, so that one broken value does not hide ninety-nine good ones.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Answer {
    /// The value.
    Found(Found),
    /// JSON null was pushed.
    Null(Found),
    /// It was never pushed.
    Missing(Box<Missing>),
    /// The task instance that pushes it has not finished.
    NotYet(Box<NotYet>),
    /// The task instance was skipped.
    Skipped(Box<XComKey>),
    /// It was there and was cleared.
    Cleared(Box<Ended>),
    /// It was there and a retention rule removed it.
    Expired(Box<Ended>),
    /// An access rule forbids reading it.
    Forbidden(Box<Forbidden>),
    /// The stored bytes, or the reference to them, were altered.
    Corrupt(Box<Damaged>),
    /// The stored bytes are gone.
    Lost(Box<Damaged>),
    /// The store is away or cannot be opened now.
    Unavailable(Box<Damaged>),
    /// There is none, and this metadata database cannot tell why.
    Absent(Box<XComKey>),
    /// It is there, and has more bytes than are left of those that the caller takes at once.
    Large(Box<Large>),
}

/// A value with the version it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Value,
    /// Which version; its time is when it was pushed.
    pub version: Version,
    /// Who pushed it.
    pub writer: Writer,
}

/// What is known around an XCom that was never pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Which XCom.
    pub key: XComKey,
    /// The state of its task instance, when there is one.
    pub state: Option<TaskState>,
    /// What exists near it.
    pub near: Near,
}

/// What exists near a name, the most alike first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Near {
    /// Keys that the same task instance pushed.
    pub keys: Vec<Arc<str>>,
    /// Map indexes of the same task at which the key exists.
    pub map_indexes: Vec<i32>,
    /// Tasks in the same run that pushed something, each with some of its keys.
    pub tasks: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Runs of the same DAG, when the run is unknown.
    pub runs: Vec<Arc<str>>,
    /// DAGs, when the DAG is unknown.
    pub dags: Vec<Arc<str>>,
}

/// A producer that has not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotYet {
    /// Which XCom.
    pub key: XComKey,
    /// Its task instance's state.
    pub state: TaskState,
    /// When and why an earlier value went, if there was one.
    pub earlier: Option<(Timestamp, EndReason)>,
}

/// A value that is no longer there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which XCom.
    pub key: XComKey,
    /// When it went.
    pub at: Timestamp,
    /// By what: a new try, a user, a retention rule.
    pub by: String,
    /// What it was.
    pub last: PastEntry,
}

/// A refusal by an access rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forbidden {
    /// Which XCom.
    pub key: XComKey,
    /// The rule, as it is set: `[xcom] reads = "run"`.
    pub rule: String,
}

/// Stored bytes that cannot be given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// Which XCom.
    pub key: XComKey,
    /// Which version.
    pub version: Version,
    /// Who pushed it.
    pub writer: Writer,
    /// What was expected and what was found, naming the object.
    pub what: String,
}

/// A value that was not loaded for its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Large {
    /// Which XCom.
    pub key: XComKey,
    /// Which version.
    pub version: Version,
    /// Who pushed it.
    pub writer: Writer,
    /// Size of its JSON text in bytes.
    pub size: u64,
}

impl Answer {
    /// The value, or `None` when there is none for a reason that is not damage (what Airflow's
    /// `xcom_pull` answers), or null was pushed.
    ///
    /// # Errors
    /// For `Forbidden`, `Corrupt`, `Lost`, `Unavailable`, `Expired` and `Large`: a wrong or lost value is never
    /// no value.
    pub fn or_none(self) -> Result<Option<Value>, Error> {
        match self {
            Self::Found(found) => Ok(Some(found.value)),
            Self::Null(_)
            | Self::Missing(_)
            | Self::NotYet(_)
            | Self::Skipped(_)
            | Self::Cleared(_)
            | Self::Absent(_) => Ok(None),
            _ => Err(self.into_error()),
        }
    }

    /// The value (JSON null included).
    ///
    /// # Errors
    /// Every answer without a value, with its own message and hints.
    pub fn value(self) -> Result<Value, Error> {
        match self {
            Self::Found(found) | Self::Null(found) => Ok(found.value),
            other => Err(other.into_error()),
        }
    }

    /// The value and its version, when there is one.
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Found(found) | Self::Null(found) => Some(found),
            _ => None,
        }
    }

    /// A stable name for JSON output, logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::Null(_) => "null",
            Self::Missing(_) => "missing",
            Self::NotYet(_) => "not_yet",
            Self::Skipped(_) => "skipped",
            Self::Cleared(_) => "cleared",
            Self::Expired(_) => "expired",
            Self::Forbidden(_) => "forbidden",
            Self::Corrupt(_) => "corrupt",
            Self::Lost(_) => "lost",
            Self::Unavailable(_) => "unavailable",
            Self::Absent(_) => "absent",
            Self::Large(_) => "large",
        }
    }

    /// The exit code of a command that got it: 0 value, 3 none, 4 expired, 5 forbidden, 6 damaged,
    /// 7 try again.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Found(_) | Self::Null(_) => 0,
            Self::Missing(_) | Self::NotYet(_) | Self::Skipped(_) | Self::Cleared(_) | Self::Absent(_) => 3,
            Self::Expired(_) => 4,
            Self::Forbidden(_) => 5,
            Self::Corrupt(_) | Self::Lost(_) => 6,
            Self::Unavailable(_) | Self::Large(_) => 7,
        }
    }

    /// What to do next, most useful first; empty when there is a value.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing(missing) => missing.hints(),
            Self::NotYet(not_yet) => {
                let task = &not_yet.key.ti.task_id;
                vec![format!("make the reader depend on `{task}`, or pull again when it has finished")]
            }
            Self::Skipped(key) => {
                vec![format!(
                    "take the value as optional, or give a default for when `{}` skips",
                    key.ti.task_id
                )]
            }
            Self::Cleared(ended) => {
                let ti = &ended.key.ti;
                vec![format!("run `{}` again; `excom xcom history` shows what it was", ti.task_id)]
            }
            Self::Expired(_) => {
                vec!["run the task again, or keep values longer with [xcom] retention".into()]
            }
            Self::Forbidden(_) => {
                vec!["pull within the rule, allow it with [xcom] grants, or change the setting".into()]
            }
            Self::Corrupt(_) | Self::Lost(_) => {
                vec!["restore the object from a backup, or clear the task and run it again".into()]
            }
            Self::Unavailable(_) => vec!["try again; `excom doctor` shows what is away".into()],
            Self::Large(_) => vec!["read it by itself, as a stream".into()],
            Self::Found(_) | Self::Null(_) | Self::Absent(_) => Vec::new(),
        }
    }

    /// What is known besides the message, for documents: of an answer without a value, the parts of what it holds.
    pub fn details(&self) -> Map<String, Json> {
        let known = match self {
            Self::Missing(missing) => serde_json::to_value(missing),
            Self::NotYet(not_yet) => serde_json::to_value(not_yet),
            Self::Cleared(ended) | Self::Expired(ended) => serde_json::to_value(ended),
            Self::Forbidden(forbidden) => serde_json::to_value(forbidden),
            Self::Corrupt(damaged) | Self::Lost(damaged) | Self::Unavailable(damaged) => {
                serde_json::to_value(damaged)
            }
            Self::Skipped(key) | Self::Absent(key) => Ok(json!({"key": key})),
            Self::Large(large) => serde_json::to_value(large),
            Self::Found(_) | Self::Null(_) => Ok(Json::Null),
        };
        match known {
            Ok(Json::Object(known)) => known,
            _ => Map::new(),
        }
    }

    /// The answer as an error, for those who cannot go on without the value.
    pub fn into_error(self) -> Error {
        let kind = match &self {
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Lost(_) => ErrorKind::Lost,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Large(_) => ErrorKind::TooLarge,
            _ => ErrorKind::NoValue,
        };
        let mut error = Error::new(kind, self.to_string());
        for hint in self.hints() {
            error = error.hint(hint);
        }
        error.with_answer(self)
    }
}

impl Missing {
    fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        let (near, ti) = (&self.near, &self.key.ti);
        if !near.keys.is_empty() {
            hints.push(format!("nearest: `{}` pushed {}", ti.task_id, listing(&near.keys)));
        }
        if !near.map_indexes.is_empty() {
            let shown: Vec<String> = near.map_indexes.iter().take(8).map(ToString::to_string).collect();
            let which = if ti.is_mapped() { "other map indexes" } else { "map indexes of this mapped task" };
            hints.push(format!("nearest: `{}` exists at {which}: {}", self.key.key, shown.join(", ")));
        }
        for (task, keys) in &near.tasks {
            hints.push(format!("nearest: task `{task}` pushed {}", listing(keys)));
        }
        if !near.runs.is_empty() {
            hints.push(format!(
                "run `{}` is not known; runs of {}: {}",
                ti.run_id,
                ti.dag_id,
                listing(&near.runs)
            ));
        }
        if !near.dags.is_empty() {
            hints.push(format!("DAG `{}` is not known; there are {}", ti.dag_id, listing(&near.dags)));
        }
        hints
    }
}

/// `a`, `b` and `c`.
fn listing(names: &[Arc<str>]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", first.join(", "))
        }
    }
}

/// `task `t``, or `task `t` at map index 3`.
struct Producer<'a>(&'a XComKey);

impl fmt::Display for Producer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task `{}`", self.0.ti.task_id)?;
        if self.0.ti.is_mapped() {
            write!(f, " at map index {}", self.0.ti.map_index)?;
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(found) | Self::Null(found) if found.value.is_secret() => f.write_str(REDACTED),
            Self::Found(found) | Self::Null(found) => write!(f, "{}", found.value.as_str()),
            Self::Missing(missing) => {
                let key = &missing.key;
                write!(
                    f,
                    "no value: {} never pushed `{}` in this run of {}",
                    Producer(key),
                    key.key,
                    key.ti.dag_id
                )
            }
            Self::NotYet(not_yet) => {
                let key = &not_yet.key;
                write!(
                    f,
                    "no value yet: {} is {} and has not pushed `{}`",
                    Producer(key),
                    not_yet.state,
                    key.key
                )?;
                if let Some((at, reason)) = &not_yet.earlier {
                    write!(f, " (an earlier value was {reason} at {at:.0})")?;
                }
                Ok(())
            }
            Self::Skipped(key) => {
                write!(f, "no value: {} was skipped and pushed no `{}`", Producer(key), key.key)
            }
            Self::Cleared(ended) => {
                let key = &ended.key;
                write!(
                    f,
                    "no value: `{}` of {} was cleared at {:.0} by {}",
                    key.key,
                    Producer(key),
                    ended.at,
                    ended.by
                )
            }
            Self::Expired(ended) => {
                let key = &ended.key;
                write!(
                    f,
                    "expired: `{}` of {} was removed at {:.0} by {}",
                    key.key,
                    Producer(key),
                    ended.at,
                    ended.by
                )
            }
            Self::Forbidden(forbidden) => {
                let key = &forbidden.key;
                write!(f, "forbidden: `{}` of {} may not be read: {}", key.key, Producer(key), forbidden.rule)
            }
            Self::Corrupt(damaged) => write!(f, "corrupt: {}: {}", damaged.key, damaged.what),
            Self::Lost(damaged) => write!(f, "lost: {}: {}", damaged.key, damaged.what),
            Self::Unavailable(damaged) => write!(f, "unavailable: {}: {}", damaged.key, damaged.what),
            Self::Absent(key) => write!(f, "no value: {key} has none, and why cannot be known here"),
            Self::Large(large) => {
                write!(f, "large: {} has {} bytes, more than are told at once", large.key, large.size)
            }
        }
    }
}
