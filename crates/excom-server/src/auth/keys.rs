//! The keys that sign tokens, and those that tokens are checked with.

use std::fmt;

use excom_core::{Error, ErrorKind, Result};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

/// The fewest bytes of a secret, so that it cannot be guessed.
const SECRET_BYTES: usize = 16;

/// Keys for tokens. They are never shown.
#[derive(Clone)]
pub struct Keys {
    pub(super) algorithm: Algorithm,
    pub(super) signs: EncodingKey,
    pub(super) checks: DecodingKey,
}

impl Keys {
    /// One secret that signs and checks, with HS512, as Airflow's `[api_auth] jwt_secret`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for one that could be guessed: under 16 bytes.
    pub fn secret(secret: &[u8]) -> Result<Self> {
        if secret.len() < SECRET_BYTES {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "the secret that signs tokens has {} bytes, the least are {SECRET_BYTES}",
                    secret.len()
                ),
            )
            .hint("make one with `openssl rand -base64 48`"));
        }
        Ok(Self {
            algorithm: Algorithm::HS512,
            signs: EncodingKey::from_secret(secret),
            checks: DecodingKey::from_secret(secret),
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?})", self.algorithm)
    }
}
