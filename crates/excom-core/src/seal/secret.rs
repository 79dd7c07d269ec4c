//! The envelope of a secret value: what is stored in its place, wherever values are stored.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Cipher, SealKeys, scope};
use crate::{Error, ErrorKind, Result, Value, Version, XComKey};

/// The name of the layout; the tag covers it, so that no frame of an object opens as an envelope.
const LAYOUT: &str = "secret-1";

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "$excom", borrow)]
    layout: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    sealed: Cow<'a, str>,
}

impl SealKeys {
    /// The envelope of a secret value: JSON text that opens as this version of this XCom only, with one of the keys.
    /// The same value under the same version has the same envelope.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the keys are just being changed.
    pub fn seal_secret(&self, id: &str, key: &XComKey, version: Version, secret: &Value) -> Result<Value> {
        let cipher = self.secret_cipher(key, version, id).ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, format!("the seal key `{id}` was just taken away"))
                .hint("push again")
        })?;
        let mut sealed = secret.bytes().to_vec();
        let tag = cipher.seal(0, LAYOUT.as_bytes(), &mut sealed)?;
        sealed.extend_from_slice(&tag);
        let sealed = STANDARD.encode(sealed).into();
        Value::of(&Envelope { layout: LAYOUT.into(), key: id.into(), sealed })
    }

    /// The secret value of an envelope.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the key that sealed it is not here, naming its id;
    /// [`ErrorKind::Corrupt`] when it was altered, or is of another version or XCom.
    pub fn open_secret(&self, key: &XComKey, version: Version, envelope: &Value) -> Result<Value> {
        let corrupt = |why: &str| {
            Error::new(
                ErrorKind::Corrupt,
                format!("the secret {key} (version {version}) does not open: {why}"),
            )
        };
        let altered = || corrupt("it was altered, or belongs to another version or XCom");
        let envelope: Envelope<'_> = serde_json::from_slice(envelope.bytes()).map_err(|_| altered())?;
        if envelope.layout != LAYOUT {
            return Err(corrupt(&format!(
                "its layout is `{}`, this Excom knows `{LAYOUT}`",
                envelope.layout
            )));
        }
        let mut sealed = STANDARD.decode(&*envelope.sealed).map_err(|_| altered())?;
        let tag =
            sealed.split_last_chunk::<{ Cipher::TAG_BYTES }>().map(|(_, tag)| *tag).ok_or_else(altered)?;
        sealed.truncate(sealed.len() - Cipher::TAG_BYTES);
        let cipher = self
            .secret_cipher(key, version, &envelope.key)
            .ok_or_else(|| self.not_loaded(key, &envelope.key))?;
        if !cipher.open(0, LAYOUT.as_bytes(), &mut sealed, &tag) {
            return Err(altered());
        }
        Value::parse(sealed).map(Value::into_secret).map_err(|_| altered())
    }

    /// The id of the key that an envelope says it is sealed with; none for what is no envelope.
    pub fn key_of_secret(envelope: &Value) -> Option<String> {
        let envelope: Envelope<'_> = serde_json::from_slice(envelope.bytes()).ok()?;
        Some(envelope.key.into_owned())
    }

    fn secret_cipher(&self, key: &XComKey, version: Version, id: &str) -> Option<Cipher> {
        let mut bytes = Vec::with_capacity(160);
        scope(&mut bytes, key, version);
        self.cipher(id, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Ring;

    fn key(task: &str) -> XComKey {
        XComKey::new("weather", "manual__2026-11-21T10:00:00", task, 3, "rows").unwrap()
    }

    fn version() -> Version {
        Version::from_code(0x0123_4567_89ab_cdef).unwrap()
    }

    /// The vector of the format's description holds.
    #[test]
    fn the_vector_of_the_description() {
        let description = include_str!("../../../../docs/stored-bytes.md");
        let secret = Value::parse("[1,2]").unwrap();
        let envelope =
            SealKeys::new("k1", [7; 32]).seal_secret("k1", &key("read"), version(), &secret).unwrap();
        assert!(description.contains(&format!("`{}`", envelope.as_str())), "{}", envelope.as_str());
    }

    #[test]
    fn an_envelope_opens_where_it_was_sealed_only() {
        let keys = SealKeys::new("k1", [7; 32]);
        let secret = Value::of(&"hunter2").unwrap().into_secret();
        let envelope = keys.seal_secret("k1", &key("t"), version(), &secret).unwrap();
        assert!(!envelope.is_secret() && !envelope.as_str().contains("hunter2"));
        assert_eq!(keys.open_secret(&key("t"), version(), &envelope).unwrap(), secret);
        assert_eq!(keys.seal_secret("k1", &key("t"), version(), &secret).unwrap(), envelope);

        let kind = |keys: &SealKeys, task: &str, version, envelope: &Value| {
            keys.open_secret(&key(task), version, envelope).unwrap_err()
        };
        let later = Version::from_code(version().to_code() + 1).unwrap();
        assert_eq!(kind(&keys, "u", version(), &envelope).kind(), ErrorKind::Corrupt);
        assert_eq!(kind(&keys, "t", later, &envelope).kind(), ErrorKind::Corrupt);
        for text in [r#"{"$excom":"secret-1","key":"k1","sealed":"AAAA"}"#, "1", r#"{"$excom":"secret-2"}"#] {
            let forged = Value::parse(text).unwrap();
            assert_eq!(kind(&keys, "t", version(), &forged).kind(), ErrorKind::Corrupt);
        }
        let rotated = SealKeys::from(Ring::new("k2", [2; 32]).with_old("k1", [7; 32]));
        assert_eq!(rotated.open_secret(&key("t"), version(), &envelope).unwrap(), secret);
        let error = kind(&SealKeys::new("k2", [2; 32]), "t", version(), &envelope);
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("`k1`"), "{error}");
    }
}
