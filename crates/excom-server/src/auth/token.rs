//! JSON Web Tokens (RFC 7519) as Airflow issues and checks them for its Task Execution API, and Excom's own for people.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom_core::{AttemptId, Clock, Error, ErrorKind, Result, TaskInstanceKey};
use jsonwebtoken::errors::ErrorKind as Wrong;
use jsonwebtoken::{Header, TokenData, Validation, decode_header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::keys::{Held, Keys};
use super::trusted::Trusted;

/// The most bytes of a token.
const TOKEN_BYTES: usize = 16 << 10;

/// How many tokens are known at most.
const KNOWN: usize = 4096;

/// How long the token of a task that runs is good.
const EXECUTION: Duration = Duration::from_secs(600);

/// The token of people and programs is for this.
const API: &str = "urn:excom:api";

/// Whom a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A task's.
    Task,
    /// A person's, or a program's that acts for one.
    Api,
}

/// What people may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Read,
    /// Push and clear as well.
    Write,
    /// Everything: delete, prune, give tokens to tasks.
    Admin,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// The task instance that a token acts as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskClaim {
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The run's id.
    pub run_id: Arc<str>,
    /// The task's id.
    pub task_id: Arc<str>,
    /// The map index; −1 when it is not mapped.
    pub map_index: i32,
    /// The label of the try.
    pub try_number: u32,
    /// The last try number that is not the end; 0 when there is no second try.
    pub max_tries: u32,
    /// The attempt that it follows, which was the last one when it was put into a queue. When another one has started
    /// since, it comes too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<AttemptId>,
}

impl TaskClaim {
    /// The task instance.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`].
    pub fn key(&self) -> Result<TaskInstanceKey> {
        let Self { dag_id, run_id, task_id, map_index, .. } = self;
        TaskInstanceKey::new(dag_id.clone(), run_id.clone(), task_id.clone(), *map_index)
    }

    /// Whether another try follows when this one fails.
    pub fn should_retry(&self) -> bool {
        self.max_tries != 0 && self.try_number <= self.max_tries
    }
}

/// What a token says. Claims that nobody here reads are kept when it is issued again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) ti: Option<TaskClaim>,
    pub(crate) iat: NumericDate,
    pub(crate) exp: NumericDate,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) nbf: Option<NumericDate>,
    #[serde(flatten)]
    pub(crate) others: Map<String, Json>,
}

impl Claims {
    /// Whether one of the names is among those that it is for.
    fn is_for<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        match self.others.get("aud") {
            Some(Json::String(one)) => names.any(|name| name == one),
            Some(Json::Array(several)) => names.any(|name| several.iter().any(|one| one == name)),
            _ => false,
        }
    }
}

/// Seconds since 1970, UTC. A fraction, which the standard allows, is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "f64")]
pub(crate) struct NumericDate(i64);

impl From<f64> for NumericDate {
    fn from(seconds: f64) -> Self {
        Self(seconds as i64)
    }
}

/// A token that was just made. It is shown only on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued(String);

impl Issued {
    /// The token itself.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The token itself.
    pub fn into_secret(self) -> String {
        self.0
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issued(…)")
    }
}

/// Why a token is not good: the rule, and nothing about the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    Malformed,
    UnknownKey,
    Algorithm,
    Signature,
    Audience,
    Issuer,
    Claims,
    NotYet,
    Expired,
    Subject,
    Scope,
    Role,
    /// Whether it is good cannot be told: the public keys have not been had yet.
    NoKeys,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is no JSON Web Token that is signed in a known way",
            Self::UnknownKey => "no key of its name (`kid`) is trusted here",
            Self::Algorithm => "its algorithm (`alg`) is not that of the key",
            Self::Signature => "its signature is not that of a key that is trusted here",
            Self::Audience => "it is for somebody else (`aud`)",
            Self::Issuer => "it is from somebody else (`iss`)",
            Self::Claims => "claims are missing, or are none that are known here",
            Self::NotYet => "it is not good yet (`nbf`, `iat`)",
            Self::Expired => "it has expired (`exp`)",
            Self::Subject => "its subject (`sub`) is no id of a task instance",
            Self::Scope => "its `scope` is not known here",
            Self::Role => "it names no `role`: read, write or admin",
            Self::NoKeys => "the keys that tokens are checked with are not to be had now",
        })
    }
}

/// A token for a person, or a program that acts for one, without a server.
///
/// # Errors
/// [`ErrorKind::Other`] when it cannot be signed.
pub fn person_token(
    keys: Keys,
    clock: Arc<dyn Clock>,
    name: &str,
    role: Role,
    lifetime: Duration,
) -> Result<Issued> {
    Tokens::new(keys, clock).person(name, role, lifetime)
}

/// Makes tokens and checks them.
#[derive(Debug)]
pub(crate) struct Tokens {
    keys: Keys,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

/// What tokens say whose signatures were found good: a task asks many times with the same one.
#[derive(Default)]
struct Known {
    /// With which keys.
    held: Option<Arc<Held>>,
    claims: HashMap<Box<str>, Arc<Claims>>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the tokens.
        write!(f, "Known({})", self.claims.len())
    }
}

impl Known {
    fn is_with(&self, held: &Arc<Held>) -> bool {
        self.held.as_ref().is_some_and(|known| Arc::ptr_eq(known, held))
    }

    fn of(&self, held: &Arc<Held>, token: &str) -> Option<Arc<Claims>> {
        if self.is_with(held) { self.claims.get(token).cloned() } else { None }
    }

    fn keep(&mut self, held: &Arc<Held>, token: &str, claims: &Arc<Claims>) {
        if !self.is_with(held) || self.claims.len() >= KNOWN {
            self.claims.clear();
        }
        self.held = Some(Arc::clone(held));
        self.claims.insert(token.into(), Arc::clone(claims));
    }
}

impl Tokens {
    pub(crate) fn new(keys: Keys, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock, known: Mutex::default() }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// What a good token says, and which of some audiences it is for. When its key is not known, keys are looked for
    /// once more.
    ///
    /// # Errors
    /// The rule by which it is not good.
    pub(crate) async fn verify(
        &self,
        audiences: &[Audience],
        token: &str,
    ) -> std::result::Result<(Audience, Arc<Claims>), Invalid> {
        match self.check(&self.keys.held(), audiences, token) {
            // A key without a name may be a newer one too.
            Err(Invalid::UnknownKey | Invalid::Signature) if self.keys.look_again().await => {
                let outcome = self.check(&self.keys.held(), audiences, token);
                match outcome {
                    Err(Invalid::UnknownKey) if !self.keys.complete() => Err(Invalid::NoKeys),
                    outcome => outcome,
                }
            }
            outcome => outcome,
        }
    }

    fn check(
        &self,
        held: &Arc<Held>,
        audiences: &[Audience],
        token: &str,
    ) -> std::result::Result<(Audience, Arc<Claims>), Invalid> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known().of(held, token);
        let claims = match before {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.signed(held, audiences, token)?);
                known().keep(held, token, &claims);
                claims
            }
        };
        let audience = audiences.iter().find(|audience| claims.is_for(self.names(**audience)));
        let audience = *audience.ok_or(Invalid::Audience)?;
        let leeway = i64::try_from(self.keys.rules().leeway.as_secs()).unwrap_or(i64::MAX);
        let now = self.now();
        let past = |date: NumericDate| date.0 <= now.saturating_add(leeway);
        if !past(claims.iat) || !claims.nbf.is_none_or(past) {
            return Err(Invalid::NotYet);
        }
        if claims.exp.0 <= now.saturating_sub(leeway) {
            return Err(Invalid::Expired);
        }
        Ok((audience, claims))
    }

    /// What a token says that one of the keys signed.
    fn signed(
        &self,
        held: &Held,
        audiences: &[Audience],
        token: &str,
    ) -> std::result::Result<Claims, Invalid> {
        if token.len() > TOKEN_BYTES {
            return Err(Invalid::Malformed);
        }
        let header = decode_header(token).map_err(|_| Invalid::Malformed)?;
        let mut found = Err(Invalid::UnknownKey);
        for trusted in held.trusted.iter().filter(|key| key.kid.is_none() || key.kid == header.kid) {
            match self.decode(trusted, audiences, token) {
                // Keys without names are tried one after another.
                Err(Invalid::Algorithm) if matches!(found, Err(Invalid::Signature)) => {}
                Err(invalid @ (Invalid::Signature | Invalid::Algorithm)) => found = Err(invalid),
                outcome => {
                    found = outcome;
                    break;
                }
            }
        }
        found
    }

    fn decode(
        &self,
        trusted: &Trusted,
        audiences: &[Audience],
        token: &str,
    ) -> std::result::Result<Claims, Invalid> {
        let mut validation = Validation::new(trusted.algorithm);
        let names: Vec<&str> = audiences.iter().flat_map(|audience| self.names(*audience)).collect();
        validation.set_audience(&names);
        let mut required = vec!["aud", "exp", "sub"];
        if let Some(issuer) = &self.keys.rules().issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        // Times are compared with the engine's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        match jsonwebtoken::decode::<Claims>(token, &trusted.key, &validation) {
            Ok(TokenData { claims, .. }) => Ok(claims),
            Err(error) => Err(match error.kind() {
                Wrong::InvalidAlgorithm => Invalid::Algorithm,
                Wrong::InvalidAudience => Invalid::Audience,
                Wrong::InvalidIssuer => Invalid::Issuer,
                Wrong::MissingRequiredClaim(_)
                | Wrong::InvalidClaimFormat(_)
                | Wrong::Json(_)
                | Wrong::Utf8(_) => Invalid::Claims,
                Wrong::InvalidToken | Wrong::Base64(_) => Invalid::Malformed,
                // A key that is no key checks nothing.
                _ => Invalid::Signature,
            }),
        }
    }

    fn names(&self, audience: Audience) -> impl Iterator<Item = &str> {
        let (tasks, people) = match audience {
            Audience::Task => (self.keys.rules().audience.as_slice(), None),
            Audience::Api => (&[][..], Some(API)),
        };
        tasks.iter().map(String::as_str).chain(people)
    }

    /// A token with which a worker may start a task instance's attempt.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when it cannot be signed.
    pub(crate) fn workload(&self, id: uuid::Uuid, ti: TaskClaim, lifetime: Duration) -> Result<Issued> {
        let claims =
            Claims { scope: Some("workload".to_owned()), ti: Some(ti), ..self.claims(id.to_string()) };
        self.sign(Audience::Task, claims, lifetime)
    }

    /// A token for a person.
    ///
    /// # Errors
    /// As [`Tokens::workload`].
    pub(crate) fn person(&self, name: &str, role: Role, lifetime: Duration) -> Result<Issued> {
        let claims = Claims { role: Some(role), ..self.claims(name.to_owned()) };
        self.sign(Audience::Api, claims, lifetime)
    }

    /// The token of a task that runs, in exchange for the one with which it started.
    ///
    /// # Errors
    /// As [`Tokens::workload`].
    pub(crate) fn execution(&self, claims: Claims) -> Result<Issued> {
        self.sign(Audience::Task, Claims { scope: Some("execution".to_owned()), ..claims }, EXECUTION)
    }

    /// The same token with a new time, when little is left of its own and there is a key that signs.
    ///
    /// # Errors
    /// As [`Tokens::workload`].
    pub(crate) fn refreshed(&self, claims: &Claims) -> Result<Option<Issued>> {
        if self.keys.held().signs.is_none() {
            return Ok(None);
        }
        let (left, life) =
            (claims.exp.0.saturating_sub(self.now()), claims.exp.0.saturating_sub(claims.iat.0));
        if left > (life / 5).max(30) {
            return Ok(None);
        }
        self.execution(claims.clone()).map(Some)
    }

    fn claims(&self, sub: String) -> Claims {
        let unset = NumericDate(0);
        Claims {
            sub,
            scope: None,
            role: None,
            ti: None,
            iat: unset,
            exp: unset,
            nbf: None,
            others: Map::new(),
        }
    }

    fn sign(&self, audience: Audience, mut claims: Claims, lifetime: Duration) -> Result<Issued> {
        let held = self.keys.held();
        let signs = held.signs.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Configuration, "there is no key that signs tokens here")
                .hint("set [server] token_private_key beside token_keys")
        })?;
        let now = self.now();
        (claims.iat, claims.nbf) = (NumericDate(now), Some(NumericDate(now)));
        claims.exp = NumericDate(now.saturating_add_unsigned(lifetime.as_secs()));
        let name = self.names(audience).next().unwrap_or_default();
        claims.others.insert("aud".to_owned(), name.into());
        claims.others.insert("jti".to_owned(), self.clock.attempt_id().to_string().into());
        if let Some(issuer) = &self.keys.rules().issuer {
            claims.others.insert("iss".to_owned(), issuer.as_str().into());
        }
        let header = Header { kid: signs.kid.clone(), ..Header::new(signs.algorithm) };
        let token = jsonwebtoken::encode(&header, &claims, &signs.key)
            .map_err(|cause| Error::new(ErrorKind::Other, "a token cannot be signed").because(cause))?;
        Ok(Issued(token))
    }
}
