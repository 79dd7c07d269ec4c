//! Entries: what the metadata database holds about one version of one value.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attempt::Caller;
use crate::json::Shape;
use crate::seal::Reference;
use crate::value::{ContentHash, Value};
use crate::{Error, ErrorKind, Result, TaskInstanceKey, XComKey};

/// One version of a value: when it was pushed (milliseconds) and 22 random bits.
///
/// It names the stored object, orders the versions of a key by time, and is the push's idempotency
/// token: pushing the same version of the same key twice is one entry. Versions of different keys
/// may coincide.
///
/// ```
/// use excom_core::Version;
///
/// let version = Version::new("2026-11-21T10:00:00Z".parse()?, 7);
/// assert_eq!(version.time().to_string(), "2026-11-21T10:00:00Z");
/// assert_eq!(version.to_string().parse::<Version>()?, version);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("pattern" = "^[0-7][0-9a-f]{15}$")))]
#[serde(into = "String", try_from = "String")]
pub struct Version(u64);

/// 2020-01-01T00:00:00Z in milliseconds: 41 bits from here reach the year 2089.
const EPOCH_MILLIS: i64 = 1_577_836_800_000;
const RANDOM_BITS: u32 = 22;

impl Version {
    /// A version for a time, with the low bits of a random number.
    pub fn new(time: Timestamp, random: u64) -> Self {
        let millis = (time.as_millisecond() - EPOCH_MILLIS).clamp(0, (1 << 41) - 1);
        Self(millis.unsigned_abs() << RANDOM_BITS | random & ((1 << RANDOM_BITS) - 1))
    }

    /// When it was pushed, to the millisecond.
    pub fn time(self) -> Timestamp {
        let millis = i64::try_from(self.0 >> RANDOM_BITS).unwrap_or(0) + EPOCH_MILLIS;
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// A number for storage; positive, and ordered by time.
    pub fn to_code(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The inverse of [`Version::to_code`].
    pub fn from_code(code: i64) -> Option<Self> {
        u64::try_from(code).ok().map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 16
            && let Ok(code) = u64::from_str_radix(text, 16)
            && i64::try_from(code).is_ok()
        {
            return Ok(Self(code));
        }
        Err(Error::new(ErrorKind::InvalidRequest, format!("`{text}` is not a version"))
            .hint("a version is 16 hex digits, the first from 0 to 7, as `excom xcom history` shows them"))
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// Who wrote an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// An attempt of the task instance that the XCom belongs to: its number from 1.
    Attempt(u32),
    /// Another task instance.
    Task(TaskInstanceKey),
    /// A person or program.
    User(Arc<str>),
    /// Excom or its host: the named part.
    System(Arc<str>),
    /// Something that wrote to the database without Excom, such as Airflow's own server.
    Outside,
}

impl Writer {
    /// The writer that a caller is for an XCom. The number is the caller's attempt's.
    pub fn of(caller: &Caller, key: &XComKey, number: u32) -> Self {
        match caller {
            Caller::Attempt(attempt) if attempt.ti == key.ti => Self::Attempt(number),
            Caller::Attempt(attempt) => Self::Task(attempt.ti.clone()),
            Caller::User(name) => Self::User(name.clone()),
            Caller::System(part) => Self::System((*part).into()),
        }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt(number) => write!(f, "attempt {number}"),
            Self::Task(ti) => write!(f, "task {ti}"),
            Self::User(name) => write!(f, "user {name}"),
            Self::System(part) => write!(f, "excom {part}"),
            Self::Outside => f.write_str("outside Excom"),
        }
    }
}

/// Where a value's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In the metadata database.
    Inline(Value),
    /// In a value store; the reference says which, and seals what must be found there.
    Offloaded(Reference),
}

/// What lists show of an entry: everything but the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EntryInfo {
    /// Which XCom.
    #[serde(flatten)]
    pub key: XComKey,
    /// Which version of it; its time is when the value was pushed.
    pub version: Version,
    /// Who pushed it.
    pub writer: Writer,
    /// Size of the value's JSON text in bytes; of a secret, that of what is stored for it.
    pub size: u64,
    /// Checksum of the value's JSON text; of a secret, that of what is stored for it.
    pub hash: ContentHash,
    /// What kind of value it is.
    #[serde(flatten)]
    pub shape: Shape,
    /// The beginning of the value's JSON text; `…` at the end when it goes on. `***` for a secret.
    pub preview: String,
    /// Whether the bytes are outside the metadata database.
    pub offloaded: bool,
    /// Whether it is a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

impl EntryInfo {
    /// When the value was pushed.
    pub fn pushed_at(&self) -> Timestamp {
        self.version.time()
    }
}

/// An entry with what it stores.
///
/// Lean on purpose: it is what every pull makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which version; its time is when the value was pushed.
    pub version: Version,
    /// Who pushed it.
    pub writer: Writer,
    /// Size of the stored JSON text in bytes.
    pub size: u64,
    /// Checksum of the stored JSON text.
    pub hash: ContentHash,
    /// What kind of value it is.
    pub shape: Shape,
    /// Whether it is a secret: then the stored JSON text is its envelope, and the rest is of that.
    pub secret: bool,
    /// The bytes, or where they are.
    pub stored: Stored,
}

/// Why a version is no longer the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Another push replaced it.
    Replaced,
    /// A new try, or a person, cleared it.
    Cleared,
    /// A retention rule removed it.
    Expired,
}

impl EndReason {
    /// A stable small number for storage.
    pub fn to_code(self) -> i64 {
        self as i64
    }

    /// The inverse of [`EndReason::to_code`].
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Replaced, Self::Cleared, Self::Expired].get(usize::try_from(code).ok()?).copied()
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaced => "replaced",
            Self::Cleared => "cleared",
            Self::Expired => "expired",
        })
    }
}

/// An earlier version of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PastEntry {
    /// What it was.
    #[serde(flatten)]
    pub info: EntryInfo,
    /// When it stopped being the entry.
    pub ended_at: Timestamp,
    /// Why.
    pub reason: EndReason,
    /// By what: a new try, a user, a rule.
    pub by: String,
    /// Whether the bytes are still kept.
    pub has_bytes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_time_and_survive_text() {
        let early = Version::new("2026-11-21T10:00:00.001Z".parse().unwrap(), u64::MAX);
        let late = Version::new("2026-11-21T10:00:00.002Z".parse().unwrap(), 0);
        assert!(early < late);
        assert!(early.to_code() > 0);
        assert_eq!(Version::from_code(late.to_code()), Some(late));
        assert_eq!(early.to_string().parse::<Version>().unwrap(), early);
        assert!("xyz".parse::<Version>().is_err());
        assert!("ffffffffffffffff".parse::<Version>().is_err());
    }
}
