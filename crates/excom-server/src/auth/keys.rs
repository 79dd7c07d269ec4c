//! The keys that sign tokens, and those that tokens are checked with: a secret for both, or a private key and the
//! public ones that are trusted. Files and addresses are read again while the server runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use excom_airflow::execution::AUDIENCE;
use excom_core::{Error, ErrorKind, Result};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::trusted::{self, Place, Trusted, signing};

/// The fewest bytes of a secret, so that it cannot be guessed.
const SECRET_BYTES: usize = 16;

/// How often public keys are asked for at most, whoever asks with a key that is not known.
const PAUSE: Duration = Duration::from_secs(10);

/// How often keys are read again without anybody asking.
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What of a token is looked at besides its signature, and what new ones say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRules {
    /// Whom tasks' tokens are for: one of these, the first in new ones. Airflow's `[execution_api] jwt_audience`.
    pub audience: Vec<String>,
    /// Who issues tokens; without one nobody looks. Airflow's `[api_auth] jwt_issuer`.
    pub issuer: Option<String>,
    /// By how much clocks may differ. Airflow's `[api_auth] jwt_leeway`.
    pub leeway: Duration,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self { audience: vec![AUDIENCE.to_owned()], issuer: None, leeway: Duration::from_secs(10) }
    }
}

/// Where a private key and public ones are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyPlaces {
    /// A private key in PEM that signs; its public half is trusted. Airflow's `[api_auth] jwt_private_key_path`.
    pub private: Option<PathBuf>,
    /// Public keys that are trusted: a file in PEM or with a JWKS (RFC 7517), or the `https://` or `http://` address of
    /// one. Airflow's `[api_auth] trusted_jwks_url`.
    pub public: Option<String>,
    /// The name of the private key in tokens; without one its thumbprint (RFC 7638). Airflow's `[api_auth] jwt_kid`.
    pub kid: Option<String>,
    /// The algorithm where a key's type leaves a choice, such as `RS512`. Airflow's `[api_auth] jwt_algorithm`.
    pub algorithm: Option<String>,
}

/// Keys for tokens. They are never shown. Clones are the same keys.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    source: Source,
    rules: TokenRules,
    held: RwLock<Arc<Held>>,
    /// When public keys were asked for last.
    asked: Mutex<Option<Instant>>,
}

/// Where keys are read again.
#[derive(Clone)]
enum Source {
    Secret,
    Places {
        private: Option<PathBuf>,
        public: Option<Place>,
        kid: Option<String>,
        algorithm: Option<Algorithm>,
    },
}

/// The keys as they are now.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) signs: Option<Signing>,
    pub(super) trusted: Vec<Trusted>,
    /// Those of [`KeyPlaces::public`] among the trusted; none when they were not to be had yet.
    public: Option<Vec<Trusted>>,
}

/// The key that signs.
#[derive(Clone)]
pub(super) struct Signing {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) key: EncodingKey,
}

impl Held {
    fn new(signs: Option<(Signing, Trusted)>, public: Option<Vec<Trusted>>) -> Self {
        let (signs, own) = signs.unzip();
        let trusted = own.into_iter().chain(public.iter().flatten().cloned()).collect();
        Self { signs, trusted, public }
    }
}

impl Keys {
    /// One secret that signs and checks, with HS512, as Airflow's `[api_auth] jwt_secret`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for one that could be guessed: under 16 bytes.
    pub fn secret(secret: &[u8]) -> Result<Self> {
        Self::secret_with(secret, None)
    }

    /// A secret with another algorithm: `HS256`, `HS384` or `HS512`.
    ///
    /// # Errors
    /// As [`Keys::secret`]; for an algorithm that has no secret.
    pub fn secret_with(secret: &[u8], algorithm: Option<&str>) -> Result<Self> {
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
        let algorithm = algorithm.map(algorithm_of).transpose()?.unwrap_or(Algorithm::HS512);
        if !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("tokens cannot be signed by a secret with {algorithm:?}"),
            )
            .hint(
                "set [server] token_algorithm to HS512 or leave it out; the others need token_private_key",
            ));
        }
        let signs = Signing { algorithm, kid: None, key: EncodingKey::from_secret(secret) };
        let own = Trusted { kid: None, algorithm, key: DecodingKey::from_secret(secret) };
        Ok(Self::of(Source::Secret, Held::new(Some((signs, own)), None)))
    }

    /// A private key that signs, and public ones that are trusted. Public keys at an address are asked for when a
    /// token needs them, or by [`Keys::refresh`]. Without a private key nothing can be signed.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a file that cannot be read, or has no key that can be used.
    pub fn at(places: &KeyPlaces) -> Result<Self> {
        let algorithm = places.algorithm.as_deref().map(algorithm_of).transpose()?;
        let KeyPlaces { private, public, kid, .. } = places.clone();
        let public = public.as_deref().map(Place::of);
        let now = match &public {
            Some(Place::File(path)) => Some(trusted::in_file(path, algorithm)?),
            _ => None,
        };
        let source = Source::Places { private, public, kid, algorithm };
        let held = Held::new(source.signing()?, now);
        Ok(Self::of(source, held))
    }

    fn of(source: Source, held: Held) -> Self {
        let held = RwLock::new(Arc::new(held));
        Self(Arc::new(Inner { source, rules: TokenRules::default(), held, asked: Mutex::new(None) }))
    }

    /// The same keys with other rules.
    pub fn with_rules(self, rules: TokenRules) -> Self {
        let held = RwLock::new(self.held());
        let source = self.0.source.clone();
        Self(Arc::new(Inner { source, rules, held, asked: Mutex::new(None) }))
    }

    pub(super) fn rules(&self) -> &TokenRules {
        &self.0.rules
    }

    pub(super) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.0.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads files and addresses again, whenever that was done last. When that fails the keys stay as they are.
    ///
    /// # Errors
    /// As [`Keys::at`]; [`ErrorKind::Unavailable`] when an address does not answer.
    pub async fn refresh(&self) -> Result<()> {
        let mut asked = self.0.asked.lock().await;
        *asked = Some(Instant::now());
        self.read().await
    }

    /// Refreshes the keys regularly, for as long as it is polled: files every minute, an address every hour, and every
    /// minute while it does not answer.
    pub async fn keep(&self, warn: impl Fn(&Error)) {
        let Source::Places { public, .. } = &self.0.source else { return };
        loop {
            let outcome = self.refresh().await;
            let regular = matches!(public, Some(Place::Address(_))) && outcome.is_ok();
            outcome.unwrap_or_else(|error| warn(&error));
            sleep(if regular { HOUR } else { MINUTE }).await;
        }
    }

    /// The same for a token whose key is not known, unless it was done a moment ago. Whether keys may have changed.
    pub(super) async fn look_again(&self) -> bool {
        if !matches!(self.0.source, Source::Places { public: Some(_), .. }) {
            return false;
        }
        let mut asked = self.0.asked.lock().await;
        if asked.is_none_or(|asked| asked.elapsed() >= PAUSE) {
            *asked = Some(Instant::now());
            // Who refreshes them regularly tells what is wrong.
            drop(self.read().await);
        }
        true
    }

    /// Whether the public keys that are trusted were had at least once.
    pub(super) fn complete(&self) -> bool {
        let expected = matches!(self.0.source, Source::Places { public: Some(_), .. });
        !expected || self.held().public.is_some()
    }

    async fn read(&self) -> Result<()> {
        let Source::Places { public, algorithm, .. } = &self.0.source else { return Ok(()) };
        let public = match public {
            Some(place) => Some(place.keys(*algorithm).await?),
            None => None,
        };
        let held = Held::new(self.0.source.signing()?, public);
        *self.0.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        Ok(())
    }
}

impl Source {
    fn signing(&self) -> Result<Option<(Signing, Trusted)>> {
        match self {
            Self::Places { private: Some(path), kid, algorithm, .. } => {
                signing(path, kid.as_deref(), *algorithm).map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn algorithm_of(name: &str) -> Result<Algorithm> {
    name.parse().map_err(|_| {
        Error::new(ErrorKind::Configuration, format!("`{name}` is no algorithm that signs tokens")).hint(
            "there are HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA",
        )
    })
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held();
        let algorithms = held.trusted.iter().map(|trusted| trusted.algorithm);
        f.debug_tuple("Keys").field(&algorithms.collect::<Vec<_>>()).finish()
    }
}
