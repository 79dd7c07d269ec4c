//! What was pushed under each XCom, and what may be pulled there.

use std::collections::BTreeSet;

use excom::core::value::ContentHash;
use excom::{Value, Version};

use crate::Result;

/// One push: its value by number, hash and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pushed {
    pub(super) counter: u64,
    pub(super) version: Version,
    pub(super) hash: ContentHash,
    pub(super) size: u64,
}

/// The pushes of one XCom, which one thread pushes.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Those that happened, oldest first.
    pub(super) acknowledged: Vec<Pushed>,
    /// The one that is under way.
    pub(super) under_way: Option<Pushed>,
    /// Those that ended in an error.
    failed: BTreeSet<u64>,
    /// Those that somebody pulled.
    pulled: BTreeSet<u64>,
}

impl History {
    /// The newest that whoever begins to pull now may rely on.
    pub(super) fn floor(&self) -> Option<u64> {
        self.acknowledged.last().map(|pushed| pushed.counter)
    }

    /// The push under way ended.
    pub(super) fn ended(&mut self, happened: bool) {
        match self.under_way.take() {
            Some(pushed) if happened => self.acknowledged.push(pushed),
            Some(pushed) => drop(self.failed.insert(pushed.counter)),
            None => {}
        }
    }

    /// A value was pulled by somebody who began when `floor` was acknowledged.
    ///
    /// # Errors
    /// When it is none that could be there.
    pub(super) fn pulled(&mut self, value: &Value, floor: Option<u64>) -> Result<()> {
        let counter = counter(value)?;
        let hash = ContentHash::of(value.bytes());
        let pushed = self.acknowledged.iter().chain(&self.under_way).find(|pushed| pushed.counter == counter);
        match pushed {
            None if self.failed.contains(&counter) => {
                Err(format!("value {counter} was pulled although its push failed").into())
            }
            None => Err(format!("value {counter} was pulled, which nobody pushed here").into()),
            Some(pushed) if pushed.hash != hash => {
                Err(format!("value {counter} was pulled with other bytes than were pushed").into())
            }
            Some(_) if floor.is_some_and(|floor| counter < floor) => {
                Err(format!("value {counter} was pulled behind {floor:?}, which was acknowledged").into())
            }
            Some(_) => {
                self.pulled.insert(counter);
                Ok(())
            }
        }
    }

    /// What was pulled while it was under way, and failed then: a value that was never pushed, or a push that
    /// happened although it failed.
    pub(super) fn ghosts(&self) -> impl Iterator<Item = &u64> {
        self.pulled.intersection(&self.failed)
    }
}

/// The number in a value of [`home::value`](crate::home::value).
fn counter(value: &Value) -> Result<u64> {
    let text = value.as_str().strip_prefix("{\"counter\":").and_then(|rest| rest.split_once(','));
    let (number, _) = text.ok_or_else(|| format!("{value:?} was pulled, which nobody pushed"))?;
    Ok(number.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home;

    fn pushed(history: &mut History, counter: u64, happened: bool) -> Value {
        let value = home::value(counter, 100).unwrap();
        let version = Version::from_code(counter as i64 + 1).unwrap();
        let (hash, size) = (ContentHash::of(value.bytes()), value.size());
        history.under_way = Some(Pushed { counter, version, hash, size });
        history.ended(happened);
        value
    }

    #[test]
    fn only_what_may_be_there_may_be_pulled() {
        let mut history = History::default();
        let first = pushed(&mut history, 1, true);
        let failed = pushed(&mut history, 2, false);
        let floor = history.floor();
        history.pulled(&first, floor).unwrap();
        assert!(history.pulled(&failed, floor).is_err());
        let newer = pushed(&mut history, 3, true);
        history.pulled(&first, floor).unwrap();
        assert!(history.pulled(&first, history.floor()).is_err(), "older than what was acknowledged");
        let altered = Value::parse(newer.as_str().replace("filler", "fuller")).unwrap();
        assert!(history.pulled(&altered, floor).is_err());
        assert!(history.pulled(&Value::null(), floor).is_err());
        assert_eq!(history.ghosts().count(), 0);
    }

    #[test]
    fn a_push_that_fails_behind_its_pull_is_a_ghost() {
        let mut history = History::default();
        let value = home::value(1, 100).unwrap();
        let (hash, size) = (ContentHash::of(value.bytes()), value.size());
        let version = Version::from_code(1).unwrap();
        history.under_way = Some(Pushed { counter: 1, version, hash, size });
        history.pulled(&value, None).unwrap();
        history.ended(false);
        assert_eq!(history.ghosts().collect::<Vec<_>>(), [&1]);
    }
}
