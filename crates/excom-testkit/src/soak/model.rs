//! What each XCom may be: its writes in their order, which of them were acknowledged, and so what may be pulled.
//!
//! An XCom has one write under way at a time, which is repeated until it is answered. A pull may see what was
//! acknowledged when it began, or anything that began before it ended; what was seen once may not be gone again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;

use crate::random::Random;

/// How large the values of an XCom are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// About a kilobyte, in the database.
    Small,
    /// A hundred kilobytes, in the store.
    Medium,
    /// Four megabytes, in the store, streamed.
    Large,
}

impl Class {
    fn size(self, random: &mut Random) -> usize {
        match self {
            Self::Small => 200 + random.below(1_800) as usize,
            Self::Medium => 100_000,
            Self::Large => 4_000_000,
        }
    }
}

/// A write of an XCom.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Write {
    /// Its value has the place of the write as its number, and this version where the client has drawn it.
    Push(Option<String>),
    Clear,
}

/// The writes of an XCom; the first is the one with number 1.
#[derive(Debug, Default)]
struct Writes {
    begun: Vec<Write>,
    /// How many of them are acknowledged: all, or all but the last.
    acknowledged: usize,
    /// The last one that somebody has seen.
    seen: usize,
}

/// A write that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    /// Its place among the writes of its XCom.
    pub(super) number: usize,
    /// The version of the value.
    pub(super) version: Option<String>,
    /// The value.
    pub(super) text: Vec<u8>,
}

/// An XCom that the load alone writes.
#[derive(Debug)]
pub(super) struct XCom {
    pub(super) task_id: String,
    pub(super) key: String,
    pub(super) class: Class,
    writes: Mutex<Writes>,
}

/// What was pulled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pulled<'a> {
    /// A value, and the version if it was told.
    Value(&'a [u8], Option<&'a str>),
    /// The code of an answer without one.
    None(&'a str),
}

impl XCom {
    pub(super) fn new(task_id: impl Into<String>, key: impl Into<String>, class: Class) -> Self {
        Self { task_id: task_id.into(), key: key.into(), class, writes: Mutex::default() }
    }

    /// `TASK/KEY`, for people and in the values themselves.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.task_id, self.key)
    }

    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a push, unless a write is under way.
    pub(super) fn begin_push(&self, version: Option<String>) -> Option<Begun> {
        let number = self.begin(Write::Push(version.clone()))?;
        Some(Begun { number, version, text: self.text(number) })
    }

    /// Begins a clear, unless a write is under way.
    pub(super) fn begin_clear(&self) -> Option<usize> {
        self.begin(Write::Clear)
    }

    fn begin(&self, write: Write) -> Option<usize> {
        let mut writes = self.writes();
        if writes.acknowledged < writes.begun.len() {
            return None;
        }
        writes.begun.push(write);
        Some(writes.begun.len())
    }

    /// The write under way is acknowledged.
    pub(super) fn acknowledge(&self) {
        let mut writes = self.writes();
        writes.acknowledged = writes.begun.len();
    }

    /// The number of the write that whoever begins to pull now may rely on.
    pub(super) fn floor(&self) -> usize {
        let writes = self.writes();
        writes.acknowledged.max(writes.seen)
    }

    /// Whether every write is acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        let writes = self.writes();
        writes.acknowledged == writes.begun.len()
    }

    /// The versions that the history must have behind what is there now, the newest first.
    pub(super) fn past(&self) -> Vec<String> {
        let writes = self.writes();
        let versions: Vec<&String> = writes
            .begun
            .iter()
            .filter_map(|write| match write {
                Write::Push(version) => version.as_ref(),
                Write::Clear => None,
            })
            .collect();
        let there = usize::from(matches!(writes.begun.last(), Some(Write::Push(_))));
        versions.into_iter().rev().skip(there).cloned().collect()
    }

    /// Checks what somebody pulled who began at a floor.
    ///
    /// # Errors
    /// What may not be, with all that is known of it.
    pub(super) fn check(&self, floor: usize, pulled: Pulled<'_>) -> Result<(), String> {
        let mut writes = self.writes();
        let begun = writes.begun.len();
        let wrong = |what: String| {
            let of = |number: usize| match number.checked_sub(1).and_then(|at| writes.begun.get(at)) {
                Some(Write::Push(Some(version))) => format!("{number} (version {version})"),
                Some(Write::Push(None)) => format!("{number} (a task's)"),
                Some(Write::Clear) => format!("{number} (a clear)"),
                None => "0 (nothing)".to_owned(),
            };
            Err(format!(
                "{}: {what}; the pull may rely on write {}, begun is {}",
                self.name(),
                of(floor),
                of(begun)
            ))
        };
        let seen = match pulled {
            Pulled::Value(text, version) => {
                let Some(number) = self.number(text) else {
                    let beginning = String::from_utf8_lossy(&text[..text.len().min(120)]);
                    return wrong(format!("{} bytes that nobody pushed there: {beginning}", text.len()));
                };
                match number.checked_sub(1).and_then(|at| writes.begun.get(at)) {
                    Some(Write::Push(known)) => {
                        if let (Some(known), Some(version)) = (known, version)
                            && known != version
                        {
                            return wrong(format!("value {number} has the version {version}"));
                        }
                    }
                    _ => return wrong(format!("value {number}, which nobody pushed")),
                }
                if number < floor {
                    return wrong(format!("value {number} is too old"));
                }
                if text != self.text(number) {
                    return wrong(format!("value {number} with other bytes"));
                }
                number
            }
            Pulled::None(code) => {
                let is_none = |number: &usize| match number.checked_sub(1) {
                    None => matches!(code, "missing" | "not_yet"),
                    // A task instance that runs again has not pushed yet.
                    Some(at) => writes.begun[at] == Write::Clear && matches!(code, "cleared" | "not_yet"),
                };
                match (floor..=begun).find(is_none) {
                    Some(number) => number,
                    None => return wrong(format!("it is `{code}`")),
                }
            }
        };
        writes.seen = writes.seen.max(seen);
        Ok(())
    }

    /// The value of a write: it tells what it is, and the same one comes of the same name and number.
    fn text(&self, number: usize) -> Vec<u8> {
        let head = format!("{{\"xcom\":\"{}\",\"number\":{number},\"filler\":\"", self.name());
        let seed = self.name().bytes().fold(number as u64, |sum, byte| {
            sum.wrapping_mul(0x0100_0000_01B3).wrapping_add(u64::from(byte))
        });
        let mut random = Random::new(seed);
        let size = self.class.size(&mut random).max(head.len() + 2);
        let mut text = Vec::with_capacity(size);
        text.extend_from_slice(head.as_bytes());
        // A block that is its own; half of it compresses.
        let block: Vec<u8> =
            (0..64).flat_map(|_| format!("{:016x}filler, filler, ", random.number()).into_bytes()).collect();
        while text.len() < size - 2 {
            let left = size - 2 - text.len();
            text.extend_from_slice(&block[..block.len().min(left)]);
        }
        text.extend_from_slice(b"\"}");
        text
    }

    /// The number in a value of this XCom.
    fn number(&self, text: &[u8]) -> Option<usize> {
        let head = format!("{{\"xcom\":\"{}\",\"number\":", self.name());
        let rest = text.strip_prefix(head.as_bytes())?;
        let end = rest.iter().position(|byte| *byte == b',')?;
        std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
    }
}

/// The versions of a history as it is answered.
pub(super) fn versions(history: &Json) -> Vec<String> {
    let past = history["history"].as_array().into_iter().flatten();
    past.filter_map(|past| past["version"].as_str()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(xcom: &XCom, version: &str) -> Begun {
        let begun = xcom.begin_push(Some(version.to_owned())).unwrap();
        xcom.acknowledge();
        begun
    }

    #[test]
    fn only_what_may_be_there_may_be_pulled() {
        let xcom = XCom::new("task", "key", Class::Small);
        xcom.check(0, Pulled::None("missing")).unwrap();
        let first = pushed(&xcom, "a");
        let floor = xcom.floor();
        xcom.check(floor, Pulled::Value(&first.text, Some("a"))).unwrap();
        assert!(xcom.check(floor, Pulled::None("missing")).is_err());
        assert!(xcom.check(floor, Pulled::Value(&first.text, Some("b"))).is_err(), "another version");
        let second = xcom.begin_push(Some("b".to_owned())).unwrap();
        assert!(xcom.begin_push(None).is_none() && xcom.begin_clear().is_none(), "one at a time");
        // In doubt, both may be there; seen once, it stays.
        xcom.check(floor, Pulled::Value(&first.text, None)).unwrap();
        xcom.check(floor, Pulled::Value(&second.text, None)).unwrap();
        assert!(xcom.check(xcom.floor(), Pulled::Value(&first.text, None)).is_err());
        assert!(!xcom.is_settled());
        xcom.acknowledge();
        assert!(xcom.check(xcom.floor(), Pulled::Value(&first.text, None)).is_err());
        assert_eq!(xcom.past(), ["a"]);
    }

    #[test]
    fn values_of_others_and_altered_ones_are_found_out() {
        let (xcom, other) = (XCom::new("task", "key", Class::Small), XCom::new("task", "yek", Class::Small));
        let (mut own, foreign) = (pushed(&xcom, "a"), pushed(&other, "a"));
        assert!(xcom.check(1, Pulled::Value(&foreign.text, None)).is_err());
        let last = own.text.len() - 3;
        own.text[last] ^= 1;
        let told = xcom.check(1, Pulled::Value(&own.text, None)).unwrap_err();
        assert!(told.contains("other bytes") && told.contains("task/key"), "{told}");
    }

    #[test]
    fn a_clear_ends_what_was_there_and_keeps_its_history() {
        let xcom = XCom::new("task", "key", Class::Small);
        let first = pushed(&xcom, "a");
        xcom.begin_clear().unwrap();
        xcom.check(1, Pulled::Value(&first.text, None)).unwrap();
        xcom.check(1, Pulled::None("cleared")).unwrap();
        assert!(xcom.check(xcom.floor(), Pulled::Value(&first.text, None)).is_err(), "seen once");
        xcom.acknowledge();
        assert!(xcom.check(xcom.floor(), Pulled::None("lost")).is_err());
        assert_eq!(xcom.past(), ["a"]);
        pushed(&xcom, "b");
        pushed(&xcom, "c");
        assert_eq!(xcom.past(), ["b", "a"]);
    }

    #[test]
    fn values_have_their_sizes() {
        assert_eq!(XCom::new("t", "k", Class::Medium).text(1).len(), 100_000);
        let small = XCom::new("t", "k", Class::Small);
        assert!((200..2_000).contains(&small.text(7).len()));
        assert_eq!(small.number(&small.text(7)), Some(7));
        assert!(serde_json::from_slice::<Json>(&small.text(7)).is_ok());
    }
}
