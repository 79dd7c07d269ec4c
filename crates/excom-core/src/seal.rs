//! Seals: keyed BLAKE3 over what leaves the metadata database and over where it is, and encryption.
//!
//! An offloaded entry keeps a [`Reference`]. It holds no location: that is derived from the entry's
//! own XCom key and version, so a reference copied to another key leads nowhere. Its MAC covers XCom
//! key, version, size, checksum, store and codec, so an altered one is found out before anything is
//! read.

mod secret;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aes_gcm_siv::aead::AeadInPlace as _;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _, Nonce};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::entry::Version;
use crate::value::ContentHash;
use crate::{Error, ErrorKind, Result, XComKey};

/// What an entry keeps of bytes that are in a value store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Which store: its id in the configuration, and its side.
    #[serde(deserialize_with = "shared")]
    pub store: Arc<str>,
    /// How the bytes are laid out there, such as `frames-1`.
    #[serde(deserialize_with = "shared")]
    pub codec: Arc<str>,
    /// Which key made the MAC.
    #[serde(deserialize_with = "shared")]
    pub key_id: Arc<str>,
    /// The MAC, 64 hex digits.
    pub mac: String,
}

/// A shared text in one step; serde's own way is a text, a box, and then this. Every pull of an offloaded value reads
/// three of them.
fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Arc<str>, D::Error> {
    struct Shared;
    impl Visitor<'_> for Shared {
        type Value = Arc<str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E>(self, text: &str) -> std::result::Result<Arc<str>, E> {
            Ok(text.into())
        }
    }
    deserializer.deserialize_str(Shared)
}

/// The secret keys of a deployment, by id. New seals use the current one; old ones stay readable. Clones are the
/// same keys, also after they were loaded anew.
///
/// ```
/// use excom_core::seal::SealKeys;
///
/// let keys = SealKeys::new("k1", [7; 32]);
/// assert_eq!(&*keys.current_id(), "k1");
/// assert_eq!(keys.fingerprint().len(), 16);
/// ```
#[derive(Clone)]
pub struct SealKeys(Arc<Shared>);

struct Shared {
    ring: RwLock<Ring>,
    source: Option<Source>,
}

type Source = Box<dyn Fn() -> Result<Ring> + Send + Sync>;

/// Secrets by their ids, one of them current.
#[derive(Clone)]
pub struct Ring {
    current: Arc<str>,
    keys: BTreeMap<Arc<str>, Derived>,
}

/// What a secret is used as. Deriving takes as long as sealing a small value, so it is done once.
#[derive(Clone)]
struct Derived {
    reference: MacKey,
    frame: MacKey,
    encryption: MacKey,
    fingerprint: MacKey,
}

impl Derived {
    fn of(secret: &[u8; 32]) -> Self {
        let key = |purpose: Purpose| MacKey(blake3::derive_key(purpose.context(), secret));
        Self {
            reference: key(Purpose::Reference),
            frame: key(Purpose::Frame),
            encryption: key(Purpose::Encryption),
            fingerprint: key(Purpose::Fingerprint),
        }
    }

    fn key(&self, purpose: Purpose) -> &MacKey {
        match purpose {
            Purpose::Reference => &self.reference,
            Purpose::Frame => &self.frame,
            Purpose::Encryption => &self.encryption,
            Purpose::Fingerprint => &self.fingerprint,
        }
    }
}

impl Ring {
    /// One key, which is the current one.
    pub fn new(id: impl Into<Arc<str>>, secret: [u8; 32]) -> Self {
        let current = id.into();
        Self { keys: BTreeMap::from([(current.clone(), Derived::of(&secret))]), current }
    }

    /// The same keys with an older one that still opens what it sealed.
    #[must_use]
    pub fn with_old(mut self, id: impl Into<Arc<str>>, secret: [u8; 32]) -> Self {
        self.keys.entry(id.into()).or_insert_with(|| Derived::of(&secret));
        self
    }

    /// The ids of all keys.
    pub fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.keys.keys()
    }

    fn derive(&self, key_id: &str, purpose: Purpose) -> Option<MacKey> {
        self.keys.get(key_id).map(|derived| derived.key(purpose).clone())
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the secrets.
        write!(f, "Ring(current {}, of {:?})", self.current, self.keys.keys())
    }
}

/// What a MAC is for; each purpose has a key of its own, derived from the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Over a reference.
    Reference,
    /// Over one frame of stored bytes.
    Frame,
    /// Encryption of what is stored.
    Encryption,
    /// To name a key without telling it.
    Fingerprint,
}

impl Purpose {
    /// The context string of BLAKE3's key derivation: part of the stored format.
    const fn context(self) -> &'static str {
        match self {
            Self::Reference => "excom 2026-11 reference mac",
            Self::Frame => "excom 2026-11 frame mac",
            Self::Encryption => "excom 2026-11 encryption",
            Self::Fingerprint => "excom 2026-11 key fingerprint",
        }
    }
}

impl SealKeys {
    /// One key, which is the current one.
    pub fn new(id: impl Into<Arc<str>>, secret: [u8; 32]) -> Self {
        Ring::new(id, secret).into()
    }

    /// Keys that can be loaded again: when a key is wanted that is not there, another process may have begun to
    /// use a new one.
    pub fn from_source(first: Ring, source: impl Fn() -> Result<Ring> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { ring: RwLock::new(first), source: Some(Box::new(source)) }))
    }

    fn ring(&self) -> Ring {
        self.0.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The id of the key that makes new seals.
    pub fn current_id(&self) -> Arc<str> {
        self.0.ring.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// The ids of all keys, in order.
    pub fn ids(&self) -> Vec<Arc<str>> {
        self.ring().keys.into_keys().collect()
    }

    /// A public name for the current key: 16 hex digits that tell two keys apart.
    pub fn fingerprint(&self) -> String {
        let ring = self.ring();
        ring.keys[&ring.current].fingerprint.name()
    }

    /// A derived key for many MACs of one purpose; none when the key id is unknown, also after the keys were
    /// loaded again.
    pub fn derive(&self, key_id: &str, purpose: Purpose) -> Option<MacKey> {
        let ring = || self.0.ring.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = ring().derive(key_id, purpose) {
            return Some(key);
        }
        // A source that fails now may have been asked in the middle of a change.
        let fresh = self.0.source.as_ref()?().ok()?;
        *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        ring().derive(key_id, purpose)
    }

    /// The cipher of one scope; none when the key id is unknown.
    pub fn cipher(&self, key_id: &str, scope: Vec<u8>) -> Option<Cipher> {
        let key = self.derive(key_id, Purpose::Encryption)?.mac(&scope);
        Some(Cipher { aead: Aes256GcmSiv::new(key.as_bytes().into()), scope })
    }

    /// Loads the keys again, and tells the id of the current one.
    ///
    /// # Errors
    /// Whatever the source reports; then the keys are as before.
    pub fn renew(&self) -> Result<Arc<str>> {
        if let Some(source) = &self.0.source {
            *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = source()?;
        }
        Ok(self.current_id())
    }

    /// Seals where and what an offloaded value is.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the key is not here.
    pub fn seal(&self, key: &XComKey, what: &Sealed<'_>) -> Result<Reference> {
        let mac = self.derive(what.key_id, Purpose::Reference).ok_or_else(|| {
            let message = format!("{key} is to be sealed with key `{}`, which is not loaded", what.key_id);
            Error::new(ErrorKind::Configuration, message)
                .hint(format!("add key `{}` to the keys", what.key_id))
        })?;
        Ok(Reference {
            store: what.store.into(),
            codec: what.codec.into(),
            mac: hex(mac.mac(&what.parts(key)).as_bytes()),
            key_id: what.key_id.into(),
        })
    }

    /// Checks a reference against the entry that holds it.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the key that sealed it is not here, naming its id;
    /// [`ErrorKind::Corrupt`] when the reference, or the entry around it, was altered.
    pub fn verify(
        &self,
        key: &XComKey,
        version: Version,
        size: u64,
        hash: ContentHash,
        reference: &Reference,
    ) -> Result<()> {
        let Some(mac) = self.derive(&reference.key_id, Purpose::Reference) else {
            return Err(self.not_loaded(key, &reference.key_id));
        };
        let Reference { store, codec, key_id, .. } = reference;
        let expected = mac.mac(&Sealed { version, size, hash, store, codec, key_id }.parts(key));
        let found = unhex(&reference.mac);
        // blake3::Hash compares in constant time.
        if found.is_some_and(|found| expected == blake3::Hash::from_bytes(found)) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            format!("the reference of {key} (version {version}) was altered: its seal does not match"),
        ))
    }

    fn not_loaded(&self, key: &XComKey, id: &str) -> Error {
        Error::new(ErrorKind::Configuration, format!("{key} is sealed with key `{id}`, which is not loaded"))
            .hint(format!("add key `{id}` to the keys; loaded: {}", self.ids().join(", ")))
    }
}

impl From<Ring> for SealKeys {
    fn from(ring: Ring) -> Self {
        Self(Arc::new(Shared { ring: RwLock::new(ring), source: None }))
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeys({:?})", self.ring())
    }
}

/// A public name for a secret: 16 hex digits that tell two apart and say nothing about them.
pub fn fingerprint(secret: &[u8; 32]) -> String {
    MacKey(blake3::derive_key(Purpose::Fingerprint.context(), secret)).name()
}

/// A secret made of another one that something else uses too, so that neither tells the other.
pub fn adopted(secret: &[u8]) -> [u8; 32] {
    blake3::derive_key("excom 2026-11 adopted secret", secret)
}

/// What a reference's MAC covers beside the XCom key.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// The version.
    pub version: Version,
    /// Size of the value in bytes.
    pub size: u64,
    /// Checksum of the value.
    pub hash: ContentHash,
    /// Which store, and which side of it.
    pub store: &'a str,
    /// How the bytes are laid out.
    pub codec: &'a str,
    /// Which key seals it.
    pub key_id: &'a str,
}

impl Sealed<'_> {
    fn parts(&self, key: &XComKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        scope(&mut bytes, key, self.version);
        part(&mut bytes, &self.size.to_le_bytes());
        part(&mut bytes, &self.hash.0.to_le_bytes());
        part(&mut bytes, self.store.as_bytes());
        part(&mut bytes, self.codec.as_bytes());
        part(&mut bytes, self.key_id.as_bytes());
        bytes
    }
}

/// Appends XCom key and version, each part behind its length so that no two scopes read alike.
pub fn scope(bytes: &mut Vec<u8>, key: &XComKey, version: Version) {
    for text in [&key.ti.dag_id, &key.ti.run_id, &key.ti.task_id] {
        part(bytes, text.as_bytes());
    }
    part(bytes, &key.ti.map_index.to_le_bytes());
    part(bytes, key.key.as_bytes());
    part(bytes, &version.to_code().to_le_bytes());
}

fn part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}

/// A key for MACs of one purpose.
#[derive(Clone)]
pub struct MacKey([u8; 32]);

impl MacKey {
    /// The MAC of bytes.
    pub fn mac(&self, bytes: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, bytes)
    }

    fn name(&self) -> String {
        hex(&self.0[..8])
    }

    /// A MAC over pieces.
    pub fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }
}

/// AES-256-GCM-SIV for one version of one XCom, with a key of its own. The scope is part of what every tag
/// covers, so nothing opens elsewhere. Two different texts under one index (a push that is repeated with the same
/// version) do no harm: this mode tells no more than whether they are the same.
pub struct Cipher {
    aead: Aes256GcmSiv,
    scope: Vec<u8>,
}

impl Cipher {
    /// Bytes that a tag adds.
    pub const TAG_BYTES: usize = 16;

    /// Encrypts the piece with this index in place, and gives its tag. `head` is covered, not encrypted.
    ///
    /// # Errors
    /// When there are more than 64 GiB in one piece.
    pub fn seal(&self, index: u64, head: &[u8], body: &mut [u8]) -> Result<[u8; Self::TAG_BYTES]> {
        let tag = self.aead.encrypt_in_place_detached(&nonce(index), &self.covered(head), body);
        let tag =
            tag.map_err(|_| Error::new(ErrorKind::TooLarge, "the piece is too long to be encrypted"))?;
        Ok(tag.into())
    }

    /// Decrypts what [`Cipher::seal`] made, in place; `false` when it was altered, or belongs elsewhere. Then the
    /// bytes are of no use.
    #[must_use]
    pub fn open(&self, index: u64, head: &[u8], body: &mut [u8], tag: &[u8; Self::TAG_BYTES]) -> bool {
        self.aead.decrypt_in_place_detached(&nonce(index), &self.covered(head), body, tag.into()).is_ok()
    }

    fn covered(&self, head: &[u8]) -> Vec<u8> {
        [&self.scope, head].concat()
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(…)")
    }
}

/// The index, little-endian, and four zeros.
fn nonce(index: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..8].copy_from_slice(&index.to_le_bytes());
    nonce
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    blake3::Hash::from_hex(text).ok().map(|hash| *hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(task: &str) -> XComKey {
        XComKey::new("d", "r", task, -1, "k").unwrap()
    }

    /// The vector of the format's description holds.
    #[test]
    fn the_vector_of_the_description() {
        let description = include_str!("../../../docs/stored-bytes.md");
        let key = XComKey::new("weather", "manual__2026-11-21T10:00:00", "read", 3, "rows").unwrap();
        let version = Version::from_code(0x0123_4567_89ab_cdef).unwrap();
        let (size, hash) = (5, ContentHash(0x1122_3344_5566_7788));
        let what = Sealed { version, size, hash, store: "files", codec: "frames-1", key_id: "k1" };
        let mac = SealKeys::new("k1", [7; 32]).seal(&key, &what).unwrap().mac;
        assert!(description.contains(&format!("`{mac}`")), "{mac}");
    }

    #[test]
    fn a_reference_holds_for_its_own_entry_only() {
        let keys = SealKeys::new("k1", [1; 32]);
        let version = Version::new("2026-11-21T10:00:00Z".parse().unwrap(), 1);
        let (size, hash) = (10, ContentHash(5));
        let what = Sealed { version, size, hash, store: "files", codec: "frames-1", key_id: "k1" };
        let reference = keys.seal(&key("t"), &what).unwrap();
        assert!(keys.seal(&key("t"), &Sealed { key_id: "k2", ..what }).is_err());
        assert!(keys.verify(&key("t"), version, size, hash, &reference).is_ok());

        let altered = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt);
        altered(keys.verify(&key("u"), version, size, hash, &reference));
        altered(keys.verify(&key("t"), version, 11, hash, &reference));
        altered(keys.verify(&key("t"), version, size, ContentHash(6), &reference));
        let moved = Reference { store: "other".into(), ..reference.clone() };
        altered(keys.verify(&key("t"), version, size, hash, &moved));
        let forged = Reference { mac: "zz".into(), ..reference.clone() };
        altered(keys.verify(&key("t"), version, size, hash, &forged));

        let rotated = SealKeys::from(Ring::new("k2", [2; 32]).with_old("k1", [1; 32]));
        assert!(rotated.verify(&key("t"), version, size, hash, &reference).is_ok());
        let other = SealKeys::new("k2", [2; 32]);
        let error = other.verify(&key("t"), version, size, hash, &reference).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("`k1`"), "{error}");
    }

    #[test]
    fn keys_are_loaded_again_when_one_is_wanted_that_is_new() {
        let ring = Arc::new(RwLock::new(Ring::new("k1", [1; 32])));
        let source = ring.clone();
        let keys =
            SealKeys::from_source(Ring::new("k1", [1; 32]), move || Ok(source.read().unwrap().clone()));
        let clone = keys.clone();
        assert!(keys.derive("k2", Purpose::Frame).is_none());
        *ring.write().unwrap() = Ring::new("k2", [2; 32]).with_old("k1", [1; 32]);
        assert_eq!(&*keys.current_id(), "k1");
        assert!(keys.derive("k2", Purpose::Frame).is_some() && keys.derive("k1", Purpose::Frame).is_some());
        assert_eq!(&*clone.current_id(), "k2");
        assert_eq!(clone.fingerprint(), fingerprint(&[2; 32]));
    }
}
