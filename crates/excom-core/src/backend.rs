//! The contract of XCom backends: what the `xcom_backend` option selects.
//!
//! A backend turns a value into what the entry stores, and back. Sealing, verifying, fencing and
//! purging at the right moment are the engine's, so a backend cannot lose or mix up values by
//! forgetting them.

use std::fmt;

use async_trait::async_trait;

use crate::entry::{EntryInfo, Version};
use crate::store::Side;
use crate::together::at_once;
use crate::value::{Payload, Value};
use crate::{Error, ErrorKind, ObjectName, Result, TaskInstanceKey, ValueStore, XComKey};

/// How many values are loaded at the same time, by backends that load one at a time.
const LOADS_AT_ONCE: usize = 32;

/// Where a backend wants a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement<'a> {
    /// In the metadata database.
    Inline,
    /// In the value store with this id.
    Offload(&'a str),
}

/// One stored version of a value: what a backend reads and writes under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<'a> {
    /// Which XCom.
    pub key: &'a XComKey,
    /// Which version.
    pub version: Version,
    /// The store's id, and its [`Side`].
    pub store: &'a str,
    /// How the bytes are laid out: what [`XComBackend::serialize_value`] returned; empty where that is
    /// not known yet, or does not matter.
    pub codec: &'a str,
    /// The key that seals it; empty where that is not known yet, or does not matter.
    pub key_id: &'a str,
}

impl Object<'_> {
    /// The object's name, derived from its key and version, and the side of the store.
    pub fn name(&self) -> ObjectName {
        ObjectName::on(Side::split(self.store).1, self.key, self.version)
    }
}

/// An interchangeable part that decides where values live.
///
/// The default methods keep every value in the metadata database; a backend that offloads overrides
/// [`store`](XComBackend::store), after which values over [`inline_limit`](XComBackend::inline_limit) go there,
/// [`serialize_value`](XComBackend::serialize_value),
/// [`deserialize_value`](XComBackend::deserialize_value) and [`purge`](XComBackend::purge).
#[async_trait]
pub trait XComBackend: Send + Sync + fmt::Debug + fmt::Display {
    /// The name by which settings select it.
    fn name(&self) -> &str;

    /// The id of the store that it offloads to, by which references find it again; none when it never does.
    fn store(&self) -> Option<&str> {
        None
    }

    /// The store itself, when all of its objects can be looked through: what finds those that nothing knows.
    fn objects(&self) -> Option<&dyn ValueStore> {
        None
    }

    /// Where a value goes. It is unknown when a stream is longer than the engine looked ahead; then
    /// [`Placement::Inline`] is refused by the inline limit.
    fn placement(&self, _key: &XComKey, value: Option<&Value>) -> Placement<'_> {
        let over = value.is_none_or(|value| value.size() > self.inline_limit());
        self.store().filter(|_| over).map_or(Placement::Inline, Placement::Offload)
    }

    /// The largest value, in bytes, that [`placement`](XComBackend::placement) puts inline; how far
    /// the engine looks ahead into a stream.
    fn inline_limit(&self) -> u64;

    /// The name of the layout in which it stores values now; empty when it never does.
    fn codec(&self) -> &str {
        ""
    }

    /// The id of the key that an object is sealed with, by a backend that seals what it stores with the engine's
    /// keys: that of [`Object::key_id`]. Such an object is written anew, on the other side of its store, when its
    /// key is replaced; of any other only the reference is sealed anew.
    ///
    /// # Errors
    /// As [`deserialize_value`](XComBackend::deserialize_value).
    async fn key_of(&self, _object: &Object<'_>) -> Result<Option<String>> {
        Ok(None)
    }

    /// Stores an offloaded value, durably, and tells its codec. The engine has noted the intent
    /// before, and writes the entry behind it.
    ///
    /// # Errors
    /// As they happen; then no entry is written.
    async fn serialize_value(&self, object: &Object<'_>, _value: Payload) -> Result<String> {
        Err(not_mine(self.name(), object))
    }

    /// The bytes of an offloaded value, verified piece by piece.
    ///
    /// # Errors
    /// `Lost`, `Corrupt`, `Unavailable` and `Configuration` become the answer of the same meaning.
    async fn deserialize_value(&self, object: &Object<'_>) -> Result<Payload> {
        Err(not_mine(self.name(), object))
    }

    /// The bytes of several offloaded values, in the order asked: one round trip where the store can. Each has
    /// a result of its own, as [`deserialize_value`](XComBackend::deserialize_value) would give it.
    async fn deserialize_values(&self, objects: &[Object<'_>]) -> Vec<Result<Payload>> {
        at_once(objects.iter().map(|object| self.deserialize_value(object)).collect(), LOADS_AT_ONCE).await
    }

    /// A light stand-in for the value in lists and pages; never loads it.
    fn orm_deserialize_value(&self, entry: &EntryInfo) -> String {
        entry.preview.clone()
    }

    /// Removes an offloaded value for good. Called when nothing refers to it any more; missing is
    /// fine.
    ///
    /// # Errors
    /// As they happen; the engine calls again later.
    async fn purge(&self, object: &Object<'_>) -> Result<()> {
        Err(not_mine(self.name(), object))
    }

    /// Told after a task instance's XComs were cleared, for data of the backend's own.
    ///
    /// # Errors
    /// As they happen; the clear itself stands, and [`Engine::upkeep`](crate::Engine::upkeep) reports it.
    async fn clear(&self, _ti: &TaskInstanceKey) -> Result<()> {
        Ok(())
    }

    /// Proves that what it needs is there.
    ///
    /// # Errors
    /// The reason why values cannot be stored or read.
    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn not_mine(name: &str, object: &Object<'_>) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!(
            "{} was stored in `{}` as `{}`, which the backend `{name}` does not read",
            object.key, object.store, object.codec
        ),
    )
    .hint("configure the store that the value was written with, or migrate the values")
}

/// Every value in the metadata database, up to a hard limit.
#[derive(Debug, Clone)]
pub struct Database {
    limit: u64,
}

impl Database {
    /// A backend that keeps values of at most so many bytes inline and refuses larger ones.
    pub fn new(limit: u64) -> Self {
        Self { limit }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database(up to {} bytes)", self.limit)
    }
}

#[async_trait]
impl XComBackend for Database {
    fn name(&self) -> &'static str {
        "database"
    }

    fn inline_limit(&self) -> u64 {
        self.limit
    }
}

/// The value of a payload, collected and validated, when it is at most so many bytes.
///
/// # Errors
/// The payload's own, `InvalidValue`, or `TooLarge` past the limit.
pub async fn collect(payload: Payload, limit: u64) -> Result<Value> {
    use std::future::poll_fn;
    let mut stream = match payload {
        Payload::Value(value) => return Ok(value),
        other => other.into_stream(),
    };
    let mut bytes = Vec::new();
    while let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        let piece = piece?;
        if (bytes.len() + piece.len()) as u64 > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the value is larger than {limit} bytes, the most that is read at once"),
            ));
        }
        bytes.extend_from_slice(&piece);
    }
    Value::parse(bytes)
}
