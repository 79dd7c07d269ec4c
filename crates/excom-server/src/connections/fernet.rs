//! Texts that Airflow keeps encrypted in its metadata database: Fernet tokens (github.com/fernet/spec), which are
//! AES-128-CBC under an HMAC-SHA256. They are only opened here, and their time is nobody's matter.

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE};
use base64::{Engine as _, alphabet};
use excom_core::{Error, ErrorKind, Result};

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

/// The keys of `[core] fernet_key`, the newest first.
pub(super) struct Keys(Vec<Key>);

struct Key {
    signing: hmac::Key,
    encryption: [u8; 16],
}

impl Keys {
    /// Reads what Airflow's setting holds: keys with commas between; none when it encrypts nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], without a word of it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let keys: Option<Vec<Key>> = text.split(',').map(|key| Key::parse(key.trim())).collect();
        keys.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::Configuration, "[core] fernet_key is malformed").hint(
                "a key is 43 letters and digits and `=`, as Airflow makes them; several have commas between",
            )
        })
    }

    /// What a token says; none where it is none, or no key opens it.
    pub(super) fn open(&self, token: &str) -> Option<String> {
        let bytes = URL_SAFE.decode(token).ok()?;
        let text = self.0.iter().find_map(|key| key.open(&bytes))?;
        String::from_utf8(text).ok()
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        // Python reads both alphabets, and does not look at bits that are left over.
        let text = text.replace('+', "-").replace('/', "_");
        let bytes: [u8; 32] = KEY.decode(text).ok()?.try_into().ok()?;
        let (signing, encryption) = bytes.split_at(16);
        Some(Self {
            signing: hmac::Key::new(hmac::HMAC_SHA256, signing),
            encryption: encryption.try_into().ok()?,
        })
    }

    fn open(&self, token: &[u8]) -> Option<Vec<u8>> {
        let (signed, tag) = token.split_at_checked(token.len().checked_sub(TAG)?)?;
        let (head, rest) = signed.split_at_checked(HEAD)?;
        let (vector, sealed) = rest.split_first_chunk::<VECTOR>()?;
        if head[0] != VERSION {
            return None;
        }
        hmac::verify(&self.signing, signed, tag).ok()?;
        let key = UnboundCipherKey::new(&AES_128, &self.encryption).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let mut text = sealed.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(vector));
        let length = key.decrypt(&mut text, context).ok()?.len();
        text.truncate(length);
        Some(text)
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
            assert_eq!(Keys::parse(&keys).unwrap().open(TOKEN).as_deref(), told, "{keys}");
        }
        for wrong in ["hunter2", &KEY[1..], &format!("{KEY},"), &format!("{KEY},hunter2")] {
            let error = Keys::parse(wrong).err().unwrap();
            assert!(error.kind() == ErrorKind::Configuration && !format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn whatever_is_altered_opens_nothing() {
        let keys = Keys::parse(KEY).unwrap();
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
