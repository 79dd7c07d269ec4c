//! The contract of value stores: immutable bytes by name.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::entry::Version;
use crate::together::at_once;
use crate::value::ByteStream;
use crate::{Result, XComKey};

/// Bytes by name, outside the metadata database: a folder, object storage, Redis, memory.
///
/// Objects are immutable: [`create`](ValueStore::create) never overwrites. A store knows nothing of
/// XComs; names are derived by [`ObjectName`].
#[async_trait]
pub trait ValueStore: Send + Sync + fmt::Debug + fmt::Display {
    /// Its id in the configuration, which references keep.
    fn id(&self) -> &str;

    /// Writes a new object. When it returns, the object is durable and whole; when it fails, or is
    /// dropped half-way, no object of that name can be read.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`](crate::ErrorKind::Exists) when the name exists;
    /// `Full`, `ReadOnly`, `Unavailable` as they happen; the stream's own error.
    async fn create(&self, name: &ObjectName, body: ByteStream) -> Result<u64>;

    /// The object's bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when there is none of that name.
    async fn get(&self, name: &ObjectName) -> Result<ByteStream>;

    /// The bytes of several objects, in the order asked: one round trip where the store can. Each object has a
    /// result of its own, as [`get`](ValueStore::get) would give it.
    async fn get_many(&self, names: &[ObjectName]) -> Vec<Result<ByteStream>> {
        at_once(names.iter().map(|name| self.get(name)).collect(), GETS_AT_ONCE).await
    }

    /// Removes an object, and what an unfinished write of it left; `false` when there was neither.
    ///
    /// # Errors
    /// As they happen; a missing object is none.
    async fn delete(&self, name: &ObjectName) -> Result<bool>;

    /// The names of objects behind a name, in order, at most so many.
    ///
    /// # Errors
    /// As they happen.
    async fn list(&self, after: Option<&ObjectName>, limit: usize) -> Result<Vec<ObjectName>>;

    /// What answers slowest or not at all is told here, with the setting to look at.
    ///
    /// # Errors
    /// The reason why the store cannot be used.
    async fn check(&self) -> Result<()>;
}

/// How many objects are asked for at the same time, by stores that are asked for one at a time.
const GETS_AT_ONCE: usize = 32;

/// Which of the two objects that a version may have in a store. Objects are immutable, so what is sealed anew is
/// written on the other side, and then the one before goes.
///
/// What names a store for a version, such as a reference, has the store's id for the first side, and the id with
/// `/2` behind it for the second.
///
/// ```
/// use excom_core::store::Side;
///
/// let (id, side) = Side::split("files/2");
/// assert_eq!((id, side), ("files", Side::Second));
/// assert_eq!(side.other().of("files"), "files");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where every push goes; the name ends in the version.
    First,
    /// The name ends in the version and `-2`.
    Second,
}

const SECOND_STORE: &str = "/2";
const SECOND_NAME: &str = "-2";

impl Side {
    /// A store's id, and the side that is named with it.
    pub fn split(store: &str) -> (&str, Self) {
        store.strip_suffix(SECOND_STORE).map_or((store, Self::First), |id| (id, Self::Second))
    }

    /// The side as it is named with a store's id.
    pub fn of(self, id: &str) -> String {
        match self {
            Self::First => id.to_owned(),
            Self::Second => format!("{id}{SECOND_STORE}"),
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The name of a stored object: `dag/run/task/map_index/key/version`, each part escaped.
///
/// The escaping is reversible: letters, digits, `_`, `-` and inner `.` stay, every other byte becomes
/// `%XX`. A part over 200 bytes keeps its beginning and ends in `~` and a hash of the whole, as file
/// names are limited; `~` never stays otherwise, so no two XCom keys share a name.
///
/// ```
/// use excom_core::{ObjectName, Version, XComKey};
///
/// let key = XComKey::new("d", "manual__2026-11-21T10:00:00", "t", -1, "../k")?;
/// let name = ObjectName::of(&key, "0123456789abcdef".parse()?);
/// assert_eq!(name.as_str(), "d/manual__2026-11-21T10%3A00%3A00/t/-1/%2E.%2Fk/0123456789abcdef");
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(Arc<str>);

const LONGEST_PART: usize = 200;

impl ObjectName {
    /// The name of one version of an XCom.
    pub fn of(key: &XComKey, version: Version) -> Self {
        Self::on(Side::First, key, version)
    }

    /// The name of one version of an XCom on a side of a store.
    pub fn on(side: Side, key: &XComKey, version: Version) -> Self {
        use std::fmt::Write as _;
        let mut name = String::with_capacity(128);
        for part in [&key.ti.dag_id, &key.ti.run_id, &key.ti.task_id] {
            escape(&mut name, part);
            name.push('/');
        }
        let _ = write!(name, "{}/", key.ti.map_index);
        escape(&mut name, &key.key);
        let _ = write!(name, "/{version}");
        if side == Side::Second {
            name.push_str(SECOND_NAME);
        }
        Self(name.into())
    }

    /// A name as it is: one that a store found when it listed, or of another layout.
    pub fn listed(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The version that the name ends with; none for what is no object of an XCom.
    pub fn version(&self) -> Option<Version> {
        let last = self.0.rsplit('/').next()?;
        last.strip_suffix(SECOND_NAME).unwrap_or(last).parse().ok()
    }

    /// The side of the store that the name is on.
    pub fn side(&self) -> Side {
        if self.0.ends_with(SECOND_NAME) { Side::Second } else { Side::First }
    }

    /// The key and version that the name was made of; none for a name that was shortened, and for what is no
    /// object of an XCom.
    pub fn parse(&self) -> Option<(XComKey, Version)> {
        let parts: Vec<&str> = self.0.split('/').collect();
        let [dag, run, task, map_index, key, _] = parts[..] else { return None };
        let (dag, run, task) = (unescape(dag)?, unescape(run)?, unescape(task)?);
        let key = XComKey::new(dag, run, task, map_index.parse().ok()?, unescape(key)?).ok()?;
        let version = self.version()?;
        (Self::on(self.side(), &key, version) == *self).then_some((key, version))
    }

    /// The name as text, its parts separated by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn escape(name: &mut String, part: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let start = name.len();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if part.len() <= LONGEST_PART && part.bytes().all(plain) {
        return name.push_str(part);
    }
    let hex = |digit: u8| HEX[usize::from(digit)] as char;
    for (i, byte) in part.bytes().enumerate() {
        match byte {
            byte if plain(byte) => name.push(byte as char),
            b'.' if i > 0 => name.push('.'),
            _ => name.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    if name.len() - start > LONGEST_PART {
        let mut end = start + 150;
        // Never cut an escape in two.
        while name.as_bytes()[end - 1] == b'%' || name.as_bytes()[end - 2] == b'%' {
            end -= 1;
        }
        name.truncate(end);
        name.push('~');
        name.push_str(&blake3::hash(part.as_bytes()).to_hex()[..32]);
    }
}

/// The inverse of [`escape`]; of a shortened part none, or something else.
fn unescape(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(parts: &(String, String, String, i32, String)) -> ObjectName {
        name_on(Side::First, parts)
    }

    fn name_on(side: Side, parts: &(String, String, String, i32, String)) -> ObjectName {
        let key = XComKey::new(&*parts.0, &*parts.1, &*parts.2, parts.3, &*parts.4).unwrap();
        ObjectName::on(side, &key, Version::from_code(1).unwrap())
    }

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![r"[a-b./%~:{} é]{1,4}", r"[a%/]{198,206}"]
    }

    proptest! {
        #[test]
        fn no_two_keys_share_a_name(
            a in (part(), part(), part(), -1..2i32, part()),
            b in (part(), part(), part(), -1..2i32, part()),
        ) {
            prop_assert_eq!(name(&a) == name(&b), a == b, "{} {}", name(&a), name(&b));
        }

        #[test]
        fn a_name_tells_its_key(a in (part(), part(), part(), -1..2i32, part())) {
            let key = XComKey::new(&*a.0, &*a.1, &*a.2, a.3, &*a.4).unwrap();
            for side in [Side::First, Side::Second] {
                let name = name_on(side, &a);
                let shortened = name.as_str().contains('~');
                let told = (!shortened).then(|| (key.clone(), Version::from_code(1).unwrap()));
                prop_assert_eq!(name.parse(), told, "{}", name);
                prop_assert_eq!((name.side(), name.version()), (side, Version::from_code(1)));
            }
        }

        #[test]
        fn names_stay_inside_their_folder(a in (part(), part(), part(), -1..2i32, part())) {
            let name = name(&a);
            let parts: Vec<_> = name.as_str().split('/').collect();
            prop_assert_eq!(parts.len(), 6);
            for part in parts {
                prop_assert!(!part.is_empty() && !part.starts_with('.') && part.len() <= 255, "{}", part);
            }
        }
    }
}
