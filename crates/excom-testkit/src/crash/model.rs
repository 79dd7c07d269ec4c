//! What must be in the home, as far as was acknowledged.

use std::collections::BTreeMap;
use std::fmt;

use excom::{AttemptId, Version};

use crate::Result;

/// One thing that a thread of the child does to its own task instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Push {
        key: usize,
        version: Version,
        counter: u64,
        size: usize,
    },
    /// A new attempt, which clears the task instance.
    Start(AttemptId),
    Clear(usize),
    Delete(usize),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push { key, version, counter, size } => write!(f, "push {key} {version} {counter} {size}"),
            Self::Start(id) => write!(f, "start {id}"),
            Self::Clear(key) => write!(f, "clear {key}"),
            Self::Delete(key) => write!(f, "delete {key}"),
        }
    }
}

impl Operation {
    /// Reads what `Display` wrote.
    pub(super) fn parse(words: &[&str]) -> Result<Self> {
        Ok(match words {
            ["push", key, version, counter, size] => Self::Push {
                key: key.parse()?,
                version: version.parse()?,
                counter: counter.parse()?,
                size: size.parse()?,
            },
            ["start", id] => Self::Start(id.parse()?),
            ["clear", key] => Self::Clear(key.parse()?),
            ["delete", key] => Self::Delete(key.parse()?),
            _ => return Err(format!("no operation: {words:?}").into()),
        })
    }
}

/// A version with what its bytes are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) version: Version,
    pub(super) counter: u64,
    pub(super) size: usize,
}

/// One XCom: the entry, and what was before it, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct XCom {
    pub(super) current: Option<Held>,
    pub(super) past: Vec<Held>,
}

impl XCom {
    fn end(&mut self) {
        self.past.extend(self.current.take());
    }

    fn all(&self) -> impl Iterator<Item = &Held> {
        self.past.iter().chain(&self.current)
    }
}

/// One task instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Task {
    pub(super) attempts: Vec<AttemptId>,
    pub(super) xcoms: BTreeMap<usize, XCom>,
}

impl Task {
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Push { key, version, counter, size } => {
                let xcom = self.xcoms.entry(*key).or_default();
                if !xcom.all().any(|held| held.version == *version) {
                    xcom.end();
                    xcom.current = Some(Held { version: *version, counter: *counter, size: *size });
                }
            }
            Operation::Start(id) => {
                self.attempts.push(*id);
                self.xcoms.values_mut().for_each(XCom::end);
            }
            Operation::Clear(key) => self.xcoms.entry(*key).or_default().end(),
            Operation::Delete(key) => drop(self.xcoms.remove(key)),
        }
        self.xcoms.retain(|_, xcom| xcom.current.is_some() || !xcom.past.is_empty());
    }

    /// The versions alone, as they can be seen from outside.
    pub(super) fn seen(&self) -> Seen {
        let versions = self.xcoms.iter().map(|(key, xcom)| {
            let past = xcom.past.iter().map(|held| held.version).collect();
            (*key, (xcom.current.map(|held| held.version), past))
        });
        Seen { attempts: self.attempts.clone(), versions: versions.collect() }
    }
}

/// A task instance as it can be seen from outside: of each XCom the current version and the past ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub(super) attempts: Vec<AttemptId>,
    pub(super) versions: BTreeMap<usize, (Option<Version>, Vec<Version>)>,
}

/// All task instances, one for each thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model(pub(super) Vec<Task>);

impl Model {
    pub(super) fn new(threads: usize) -> Self {
        Self(vec![Task::default(); threads])
    }

    pub(super) fn apply(&mut self, thread: usize, operation: &Operation) {
        self.0[thread].apply(operation);
    }

    /// Whether a push has happened.
    pub(super) fn knows(&self, thread: usize, push: &Operation) -> bool {
        let mut after = self.0[thread].clone();
        after.apply(push);
        after == self.0[thread]
    }

    /// All versions with bytes: thread, key, whether it is current, and what it is.
    pub(super) fn held(&self) -> impl Iterator<Item = (usize, usize, bool, Held)> {
        self.0.iter().enumerate().flat_map(|(thread, task)| {
            task.xcoms.iter().flat_map(move |(key, xcom)| {
                xcom.all().map(move |held| (thread, *key, xcom.current == Some(*held), *held))
            })
        })
    }
}
