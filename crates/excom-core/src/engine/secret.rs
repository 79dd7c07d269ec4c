//! Secrets on their way into an entry: which pushes are, and the envelope that is stored in their place.

use std::fmt;
use std::sync::Arc;

use super::Engine;
use crate::backend::collect;
use crate::db::Push;
use crate::entry::{EntryInfo, Stored};
use crate::value::{ContentHash, Payload, Value};
use crate::{Error, ErrorKind, Result, XComKey};

/// The most bytes of a secret's JSON text: it is whole in memory while it is sealed.
pub const SECRET_LIMIT: u64 = 1 << 20;

/// Keys by their names, with `*` for any characters; upper and lower case of ASCII letters are the same.
///
/// ```
/// use excom_core::engine::KeyGlob;
///
/// let glob = KeyGlob::new("*password*");
/// assert!(glob.fits("password") && glob.fits("DB_PASSWORD_2") && !glob.fits("passport"));
/// assert!(KeyGlob::new("*_token").fits("api_token") && !KeyGlob::new("*_token").fits("tokens"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyGlob(Arc<str>);

impl KeyGlob {
    /// The glob that a text is.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Whether a key is meant.
    pub fn fits(&self, key: &str) -> bool {
        let (glob, key) = (self.0.to_ascii_lowercase(), key.to_ascii_lowercase());
        let Some((first, rest)) = glob.split_once('*') else { return glob == key };
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let inner = key.strip_prefix(first).and_then(|key| key.strip_suffix(last));
        // The earliest place of each part leaves the most for those behind it.
        let fits_between = |inner| {
            between
                .split('*')
                .try_fold(inner, |inner: &str, part| inner.split_once(part).map(|(_, rest)| rest))
        };
        inner.is_some_and(|inner| fits_between(inner).is_some())
    }
}

impl fmt::Display for KeyGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Engine {
    /// Whether the settings make a secret of whatever is pushed under a key.
    pub fn is_secret(&self, key: &str) -> bool {
        self.0.settings.secret_keys.iter().any(|glob| glob.fits(key))
    }

    /// The secret that a push brings, all of it; or its payload as it is, when it brings none.
    pub(super) async fn secret(
        &self,
        key: &XComKey,
        payload: Payload,
    ) -> Result<std::result::Result<Value, Payload>> {
        let marked = matches!(&payload, Payload::Value(value) if value.is_secret());
        if !marked && !self.is_secret(&key.key) {
            return Ok(Err(payload));
        }
        let too_large = |size: &dyn fmt::Display| {
            Error::new(
                ErrorKind::TooLarge,
                format!("{key} is a secret of {size} bytes, the limit is {SECRET_LIMIT}; nothing was pushed"),
            )
            .hint("encrypt the data in a file or an object and push a pointer to it, and its key as a secret")
        };
        let value = match payload {
            Payload::Value(value) if value.size() > SECRET_LIMIT => return Err(too_large(&value.size())),
            Payload::Value(value) => value,
            stream => collect(stream, SECRET_LIMIT).await.map_err(|error| match error.kind() {
                ErrorKind::TooLarge => too_large(&"more"),
                _ => error,
            })?,
        };
        Ok(Ok(value.into_secret()))
    }

    /// Puts the envelope of a secret, for the version that a push has now, in the place of its value.
    pub(super) fn enclose(&self, push: &mut Push, secret: &Value) -> Result<()> {
        let envelope = self.0.keys.seal_secret(&self.0.keys.current_id(), &push.key, push.version, secret)?;
        push.size = envelope.size();
        push.hash = ContentHash::of(envelope.bytes());
        push.stored = Stored::Inline(envelope);
        Ok(())
    }

    /// What lists show of an entry: the backend's stand-in, which is not asked for a secret.
    pub(super) fn preview(&self, info: &mut EntryInfo) {
        if !info.secret {
            info.preview = self.backend().orm_deserialize_value(info);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let fits = |glob: &str, key: &str| KeyGlob::new(glob).fits(key);
        assert!(fits("token", "TOKEN") && !fits("token", "tokens"));
        assert!(fits("*", "") && fits("**", "x") && fits("a*b*c", "aXbYc") && fits("a*b*c", "abc"));
        assert!(!fits("a*b*c", "acb") && !fits("ab*ba", "aba"), "parts do not overlap");
        assert!(fits("*a*a", "aa") && !fits("*a*a", "a"));
    }
}
