//! JSON Web Tokens (RFC 7519) as Airflow issues and checks them for its Task Execution API, and Excom's own for people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use excom_airflow::execution::AUDIENCE;
use excom_core::{AttemptId, Clock, Error, ErrorKind, Result, TaskInstanceKey};
use jsonwebtoken::{Header, TokenData, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::keys::Keys;

/// By how much clocks may differ, in seconds.
const LEEWAY: i64 = 10;

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

impl Audience {
    fn name(self) -> &'static str {
        match self {
            Self::Task => AUDIENCE,
            Self::Api => API,
        }
    }
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

/// A token that is not good. Why is nobody's business who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

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
    of_tasks: Validation,
    of_people: Validation,
}

impl Tokens {
    pub(crate) fn new(keys: Keys, clock: Arc<dyn Clock>) -> Self {
        let of = |audience: Audience| {
            let mut validation = Validation::new(keys.algorithm);
            validation.set_audience(&[audience.name()]);
            validation.set_required_spec_claims(&["aud", "exp", "sub"]);
            // Times are compared with the engine's clock.
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation
        };
        let (of_tasks, of_people) = (of(Audience::Task), of(Audience::Api));
        Self { keys, clock, of_tasks, of_people }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// What a good token says.
    ///
    /// # Errors
    /// [`Invalid`] for every other one: another key or algorithm, another audience, its time not come or over, or
    /// claims missing.
    pub(crate) fn verify(&self, audience: Audience, token: &str) -> std::result::Result<Claims, Invalid> {
        let validation = match audience {
            Audience::Task => &self.of_tasks,
            Audience::Api => &self.of_people,
        };
        let TokenData { claims, .. } =
            jsonwebtoken::decode::<Claims>(token, &self.keys.checks, validation).map_err(|_| Invalid)?;
        let now = self.now();
        let past = |date: NumericDate| date.0 <= now + LEEWAY;
        let begun = past(claims.iat) && claims.nbf.is_none_or(past);
        if begun && claims.exp.0 > now - LEEWAY { Ok(claims) } else { Err(Invalid) }
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

    /// The same token with a new time, when little is left of its own.
    ///
    /// # Errors
    /// As [`Tokens::workload`].
    pub(crate) fn refreshed(&self, claims: &Claims) -> Result<Option<Issued>> {
        let (left, life) = (claims.exp.0 - self.now(), claims.exp.0 - claims.iat.0);
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
        let now = self.now();
        (claims.iat, claims.nbf) = (NumericDate(now), Some(NumericDate(now)));
        claims.exp = NumericDate(now.saturating_add_unsigned(lifetime.as_secs()));
        claims.others.insert("aud".to_owned(), audience.name().into());
        claims.others.insert("jti".to_owned(), self.clock.attempt_id().to_string().into());
        let token = jsonwebtoken::encode(&Header::new(self.keys.algorithm), &claims, &self.keys.signs)
            .map_err(|cause| Error::new(ErrorKind::Other, "a token cannot be signed").because(cause))?;
        Ok(Issued(token))
    }
}
