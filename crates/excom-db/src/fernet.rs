//! Texts that Airflow keeps encrypted in its metadata database: Fernet tokens (github.com/fernet/spec), which are
//! AES-128-CBC under an HMAC-SHA256. The time in one that is opened is nobody's matter.

use std::fmt;
use std::sync::Arc;

use aes::Aes128;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE};
use base64::{Engine as _, alphabet};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};
use cbc::{Decryptor, Encryptor};
use excom_core::{Error, ErrorKind, Result};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// What a token begins with.
const VERSION: u8 = 0x80;

/// How long the parts of a token are: its version and time, its vector, and what it is signed with.
const HEAD: usize = 9;
const VECTOR: usize = 16;
const TAG: usize = 32;

const KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The keys of Airflow's own `[core] fernet_key`, the newest first: what Airflow's database encrypts with. Clones are the
/// same, and by default there are none. It shows nothing of them.
///
/// ```
/// use excom_db::Fernet;
///
/// let keys = Fernet::parse("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")?;
/// assert_eq!(format!("{keys:?}"), "Fernet(1 key)");
/// assert!(Fernet::parse("no key").is_err());
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Fernet(Arc<[Key]>);

/// A text as a column of Airflow's holds it, and whether it is encrypted there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) text: String,
    pub(crate) is_encrypted: bool,
}

impl Held {
    /// Whether a key is needed to read it: Airflow marks texts that it did not encrypt because they are empty.
    pub(crate) fn is_secret(&self) -> bool {
        self.is_encrypted && !self.text.is_empty()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("is_encrypted", &self.is_encrypted).finish_non_exhaustive()
    }
}

struct Key {
    signing: Hmac<Sha256>,
    encryption: [u8; 16],
}

impl Fernet {
    /// Reads what Airflow's setting holds: keys with commas between; none when it encrypts nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], without a word of it.
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let keys: Option<Arc<[Key]>> = text.split(',').map(|key| Key::parse(key.trim())).collect();
        keys.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::Configuration, "[core] fernet_key is malformed").hint(
                "a key is 43 letters and digits and `=`, as Airflow makes them; several have commas between",
            )
        })
    }

    /// What a token says; none where it is none, or no key opens it.
    pub(crate) fn open(&self, token: &str) -> Option<String> {
        let bytes = URL_SAFE.decode(token).ok()?;
        let text = self.0.iter().find_map(|key| key.open(&bytes))?;
        String::from_utf8(text).ok()
    }

    /// What a column says; none where it is encrypted, and no key opens it.
    pub(crate) fn read(&self, held: Held) -> Option<String> {
        match held.is_secret() {
            true => self.open(&held.text),
            false => Some(held.text),
        }
    }

    /// The same of a part of a connection, which has it or not.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where no key opens it.
    pub(crate) fn read_part(
        &self,
        text: Option<String>,
        is_encrypted: bool,
        (id, part): (&str, &str),
    ) -> Result<Option<String>> {
        let Some(text) = text else { return Ok(None) };
        self.read(Held { text, is_encrypted }).map(Some).ok_or_else(|| {
            let what =
                format!("the {part} of the connection `{id}` in Airflow's database opens with no key of [core] fernet_key");
            Error::new(ErrorKind::Configuration, what).hint(
                "set it to Airflow's own [core] fernet_key, with the keys of before behind the newest, each after a comma",
            )
        })
    }

    /// A text as Airflow would write it at a time: with the newest key, or in the clear where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] where the system has no random bytes.
    pub(crate) fn hold(&self, text: &str, at: Timestamp) -> Result<Held> {
        match self.0.first() {
            None => Ok(Held { text: text.to_owned(), is_encrypted: false }),
            Some(key) => match key.seal(text, at) {
                Some(token) => Ok(Held { text: URL_SAFE.encode(token), is_encrypted: true }),
                None => {
                    Err(Error::new(ErrorKind::Other, "the text could not be encrypted; nothing was written")
                        .hint("try again; encrypting needs random bytes of the system"))
                }
            },
        }
    }
}

impl fmt::Debug for Fernet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fernet({} {})", self.0.len(), if self.0.len() == 1 { "key" } else { "keys" })
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        // Python reads both alphabets, and does not look at bits that are left over.
        let text = text.replace('+', "-").replace('/', "_");
        let bytes: [u8; 32] = KEY.decode(text).ok()?.try_into().ok()?;
        let (signing, encryption) = bytes.split_at(16);
        Some(Self { signing: Hmac::new_from_slice(signing).ok()?, encryption: encryption.try_into().ok()? })
    }

    fn open(&self, token: &[u8]) -> Option<Vec<u8>> {
        let (signed, tag) = token.split_at_checked(token.len().checked_sub(TAG)?)?;
        let (head, rest) = signed.split_at_checked(HEAD)?;
        let (vector, sealed) = rest.split_first_chunk::<VECTOR>()?;
        if head[0] != VERSION {
            return None;
        }
        self.signed(signed).verify_slice(tag).ok()?;
        let cipher = Decryptor::<Aes128>::new(&self.encryption.into(), vector.into());
        cipher.decrypt_padded_vec_mut::<Pkcs7>(sealed).ok()
    }

    fn seal(&self, text: &str, at: Timestamp) -> Option<Vec<u8>> {
        let mut vector = [0; VECTOR];
        getrandom::fill(&mut vector).ok()?;
        let cipher = Encryptor::<Aes128>::new(&self.encryption.into(), &vector.into());
        let sealed = cipher.encrypt_padded_vec_mut::<Pkcs7>(text.as_bytes());
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        let mut token = [&[VERSION][..], &seconds.to_be_bytes(), &vector, &sealed].concat();
        let tag = self.signed(&token).finalize().into_bytes();
        token.extend_from_slice(&tag);
        Some(token)
    }

    fn signed(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut signing = self.signing.clone();
        signing.update(bytes);
        signing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Those of the specification.
    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    #[test]
    fn any_key_of_the_setting_opens_a_token() {
        let other = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        for (keys, told) in [
            (KEY.to_owned(), Some("hello")),
            (format!("{other},{KEY}"), Some("hello")),
            (format!("{KEY}, {other}"), Some("hello")),
            // As `openssl rand -base64 32` writes it, and with a bit that nobody looks at.
            (KEY.replace('-', "+").replace('_', "/"), Some("hello")),
            (KEY.replace("F4e4=", "F4e5="), Some("hello")),
            (other.to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(Fernet::parse(&keys).unwrap().open(TOKEN).as_deref(), told, "{keys}");
        }
        for wrong in ["hunter2", &KEY[1..], &format!("{KEY},"), &format!("{KEY},hunter2")] {
            let error = Fernet::parse(wrong).err().unwrap();
            assert!(error.kind() == ErrorKind::Configuration && !format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_newest_key_writes_and_each_token_is_another() {
        let newest = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let keys = Fernet::parse(&format!("{newest},{KEY}")).unwrap();
        let at = Timestamp::from_second(499_162_800).unwrap();
        for text in ["", "hello", "\0 é", &"x".repeat(100_000)] {
            let [one, other] = [(); 2].map(|()| keys.hold(text, at).unwrap());
            assert!(one.is_encrypted && one.text != other.text);
            assert_eq!(URL_SAFE.decode(&one.text).unwrap()[..HEAD], URL_SAFE.decode(TOKEN).unwrap()[..HEAD]);
            assert_eq!(Fernet::parse(newest).unwrap().read(one.clone()).as_deref(), Some(text));
            assert_eq!(Fernet::parse(KEY).unwrap().read(one.clone()), None);
            assert_eq!(Fernet::default().read(one), None);
        }
        let plain = Fernet::default().hold("hello", at).unwrap();
        assert_eq!(plain, Held { text: "hello".to_owned(), is_encrypted: false });
        assert_eq!(keys.read(plain).as_deref(), Some("hello"));
    }

    #[test]
    fn whatever_is_altered_opens_nothing() {
        let keys = Fernet::parse(KEY).unwrap();
        let bytes = URL_SAFE.decode(TOKEN).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(keys.open(&URL_SAFE.encode(altered)), None, "{at}");
            assert_eq!(keys.open(&URL_SAFE.encode(&bytes[..at])), None, "{at}");
        }
        for nonsense in ["", "=", "é", "gAAAAA", "hello"] {
            assert_eq!(keys.open(nonsense), None);
        }
    }
}
