//! Tokens: who may ask for something, and as whom.

mod keys;
mod token;
mod trusted;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use excom_core::{Attempt, AttemptId, Caller};
use uuid::Uuid;

pub use keys::{KeyPlaces, Keys, TokenRules};
pub(crate) use token::{Audience, Claims, Invalid, Tokens};
pub use token::{Issued, Role, TaskClaim, person_token};

use crate::access::Noted;
use crate::app::App;
use crate::refusal::Refusal;

/// A newer token for the calls to come.
const REFRESHED: HeaderName = HeaderName::from_static("refreshed-api-token");

/// What a token lets a task do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Only start: the token waited in a queue.
    Workload,
    /// Everything that a running task does.
    Execution,
}

/// A task's token that was found good.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) id: Uuid,
    pub(crate) scope: Scope,
    pub(crate) claims: Arc<Claims>,
}

impl Task {
    /// The task instance that it acts as.
    ///
    /// # Errors
    /// A refusal when the token names none.
    pub(crate) fn claim(&self) -> Result<&TaskClaim, Refusal> {
        self.claims.ti.as_ref().ok_or_else(|| {
            Refusal::because(
                StatusCode::FORBIDDEN,
                "unknown_task_instance",
                format!("the token of {} does not say which task instance that is", self.id),
            )
        })
    }

    /// The attempt that it acts as.
    ///
    /// # Errors
    /// As [`Task::claim`]; when the token names a task instance that there cannot be.
    pub(crate) fn attempt(&self) -> Result<Attempt, Refusal> {
        Ok(Attempt { ti: self.claim()?.key()?, id: AttemptId(self.id) })
    }

    /// The attempt as a caller of the engine.
    ///
    /// # Errors
    /// As [`Task::attempt`].
    pub(crate) fn caller(&self) -> Result<Caller, Refusal> {
        self.attempt().map(Caller::Attempt)
    }

    /// The task that a good token names.
    fn of(claims: Arc<Claims>) -> Result<Self, Refusal> {
        let id = Uuid::try_parse(&claims.sub).map_err(|_| Invalid::Subject)?;
        let scope = match claims.scope.as_deref() {
            None | Some("execution") => Scope::Execution,
            Some("workload") => Scope::Workload,
            Some(_) => return Err(Invalid::Scope.into()),
        };
        Ok(Self { id, scope, claims })
    }

    /// Nothing more than to start, for a token that waited in a queue.
    pub(crate) fn running(&self) -> Result<(), Refusal> {
        match self.scope {
            Scope::Execution => Ok(()),
            Scope::Workload => Err(Refusal::plain(
                StatusCode::FORBIDDEN,
                "Token type 'workload' not allowed for this endpoint. Allowed types: execution",
            )),
        }
    }
}

/// The task that asks, of either scope; the router found it.
impl<S: Sync> FromRequestParts<S> for Task {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(no_token)
    }
}

/// The attempt that asks, as a caller of the engine; it runs.
#[derive(Debug, Clone)]
pub(crate) struct Running(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Running {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let task = Task::from_request_parts(parts, state).await?;
        task.running()?;
        task.caller().map(Self)
    }
}

/// The refusal of a request without a token.
pub(crate) fn no_token() -> Refusal {
    Refusal::plain(StatusCode::UNAUTHORIZED, "Missing auth token")
}

/// What stands behind `Bearer` in a request's head.
pub(crate) fn bearer(head: &HeaderMap) -> Option<&str> {
    let (scheme, token) = head.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Who asks with a token of either kind: a person by name, or a task that runs. The router found out.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) caller: Caller,
    role: Option<Role>,
}

impl Asking {
    /// Lets through tasks, whose writes the engine looks at, and people who may write.
    ///
    /// # Errors
    /// As [`Asking::at_least`].
    pub(crate) fn may_write(&self) -> Result<(), Refusal> {
        if matches!(self.caller, Caller::Attempt(_)) { Ok(()) } else { self.at_least(Role::Write) }
    }

    /// Lets through whoever has at least a role.
    ///
    /// # Errors
    /// 403 that names the role.
    pub(crate) fn at_least(&self, role: Role) -> Result<(), Refusal> {
        if self.role.is_some_and(|held| held >= role) {
            return Ok(());
        }
        let message = format!("{} needs the role `{}` for this", self.caller, role.name());
        Err(Refusal::because(StatusCode::FORBIDDEN, "role", message))
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::NoKeys => Self::because(StatusCode::SERVICE_UNAVAILABLE, "keys", invalid.to_string()),
            _ => Self::plain(StatusCode::FORBIDDEN, format!("Invalid auth token: {invalid}")),
        }
    }
}

/// Whose tokens are good where anybody with one gets in.
pub(crate) const EVERYBODY: [Audience; 2] = [Audience::Api, Audience::Task];

/// Who got in with a good token.
#[derive(Debug)]
pub(crate) enum Entered {
    /// A person, or a program that acts for one, of a name.
    Person(Arc<Claims>),
    Task(Task),
}

impl Entered {
    /// The name in the token.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Person(claims) => &claims.sub,
            Self::Task(task) => &task.claims.sub,
        }
    }
}

/// Finds out who asks, and notes it in the request.
///
/// # Errors
/// 401 without a token, 403 with the rule for one that is not good, or not good for this.
pub(crate) async fn enter(
    app: &App,
    audiences: &[Audience],
    request: &mut Request,
) -> Result<Entered, Refusal> {
    let token = bearer(request.headers());
    let token = token.ok_or_else(no_token)?;
    let (audience, claims) = app.tokens.verify(audiences, token).await?;
    if audience == Audience::Api {
        let role = claims.role.ok_or(Invalid::Role)?;
        Noted::who(request, &claims.sub, role.name());
        let caller = Caller::user(claims.sub.clone());
        request.extensions_mut().insert(Asking { caller, role: Some(role) });
        return Ok(Entered::Person(claims));
    }
    let task = Task::of(claims)?;
    Noted::who(request, &task.claims.sub, "task");
    if audiences.contains(&Audience::Api) {
        task.running()?;
        request.extensions_mut().insert(Asking { caller: task.caller()?, role: None });
    } else {
        request.extensions_mut().insert(task.clone());
    }
    Ok(Entered::Task(task))
}

/// An answer with a newer token for a task that runs, when it is time for one. When none can be signed now the next
/// answer may bring it: what was asked is done.
pub(crate) fn refreshing(app: &App, task: &Task, mut answer: Response) -> Response {
    if task.scope == Scope::Execution
        && !answer.headers().contains_key(REFRESHED)
        && let Ok(Some(newer)) = app.tokens.refreshed(&task.claims)
    {
        refresh(&mut answer, &newer);
    }
    answer
}

/// Gives a newer token with an answer.
pub(crate) fn refresh(answer: &mut Response, token: &Issued) {
    if let Ok(mut value) = HeaderValue::try_from(token.secret()) {
        value.set_sensitive(true);
        answer.headers_mut().insert(REFRESHED, value);
    }
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(no_token)
    }
}
