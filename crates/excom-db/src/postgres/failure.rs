//! What PostgreSQL reports, as errors that say what, where, why and what to do.

use deadpool_postgres::{HookError, PoolError};
use excom_core::{Error, ErrorKind};
use tokio_postgres::error::SqlState;

use super::tls::SPELLING;
use crate::trust;

/// A statement's outcome when it did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server or the driver said so.
    Server(tokio_postgres::Error),
    /// There was no connection: the statement was never sent.
    Unconnected(PoolError),
    /// Another caller has just found the server away; why.
    Away(String),
    /// It waited for long and was called off; for whose lock, if the server told.
    CalledOff(Option<String>),
    /// Nothing came back for long.
    Silent,
    /// It holds with the database, but not with us.
    Told(Error),
}

/// A refusal by a step of `migrations/`, which undid it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Superseded,
    NotStarted,
    IntentGone,
    VersionTaken,
    BeingRemoved,
    /// The key that encrypts a secret is not used any more.
    KeyRetired,
    /// Attached: Airflow has no such run or task instance.
    NoTaskInstance,
    /// Attached: Airflow's schema is one that was not proven.
    UnknownSchema,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::PostCreateHook(HookError::Backend(error)) => {
                Self::Unconnected(PoolError::Backend(error))
            }
            error => Self::Unconnected(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl Failure {
    fn driver(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::Server(error) | Self::Unconnected(PoolError::Backend(error)) => Some(error),
            _ => None,
        }
    }

    fn state(&self) -> Option<&SqlState> {
        self.driver()?.code()
    }

    /// The rule that refused it, if one did.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        Some(match self.state()?.code() {
            "XC001" => Refusal::Superseded,
            "XC002" => Refusal::NotStarted,
            "XC003" => Refusal::IntentGone,
            "XC004" => Refusal::VersionTaken,
            "XC005" => Refusal::BeingRemoved,
            "XC006" => Refusal::KeyRetired,
            "XC007" => Refusal::NoTaskInstance,
            "XC008" => Refusal::UnknownSchema,
            "23503" if self.is_about("xcom") || self.is_about("task_map") => Refusal::NoTaskInstance,
            _ => return None,
        })
    }

    /// Whether it is about a table.
    fn is_about(&self, table: &str) -> bool {
        self.driver()
            .and_then(tokio_postgres::Error::as_db_error)
            .is_some_and(|told| told.table() == Some(table))
    }

    /// What a refusal is about, where it says so.
    pub(super) fn detail(&self) -> Option<&str> {
        self.driver()?.as_db_error()?.detail()
    }

    /// Whether the same statement may succeed soon: the server restarts or fails over, the connection was cut, or
    /// another transaction was in the way.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Told(_) | Self::Silent | Self::CalledOff(_) => false,
            Self::Unconnected(PoolError::Backend(_)) | Self::Server(_) => match self.state() {
                None => self.driver().is_some_and(lost),
                Some(state) => {
                    [
                        SqlState::T_R_SERIALIZATION_FAILURE,
                        SqlState::T_R_DEADLOCK_DETECTED,
                        SqlState::ADMIN_SHUTDOWN,
                        SqlState::CRASH_SHUTDOWN,
                        SqlState::CANNOT_CONNECT_NOW,
                        SqlState::TOO_MANY_CONNECTIONS,
                    ]
                    .contains(state)
                        || state.code().starts_with("08")
                }
            },
            Self::Unconnected(_) => false,
        }
    }

    /// Whether it may have been done nevertheless: the connection was lost after it was sent.
    pub(super) fn in_doubt(&self) -> bool {
        match self {
            Self::Server(error) => error.code().is_none_or(|state| state.code().starts_with("08")),
            Self::Silent => true,
            Self::Unconnected(_) | Self::Away(_) | Self::Told(_) | Self::CalledOff(_) => false,
        }
    }

    /// Why there was no connection, if the server is away.
    pub(super) fn absence(&self) -> Option<String> {
        match self {
            Self::Unconnected(PoolError::Backend(error)) if self.passes() => {
                (self.state() != Some(&SqlState::TOO_MANY_CONNECTIONS)).then(|| reason(error))
            }
            _ => None,
        }
    }

    /// Whether a table has no column of that name.
    pub(super) fn is_unknown_column(&self) -> bool {
        self.state() == Some(&SqlState::UNDEFINED_COLUMN)
    }

    /// Whether somebody called it off.
    pub(super) fn is_interrupted(&self) -> bool {
        self.state() == Some(&SqlState::QUERY_CANCELED)
    }

    pub(super) fn into_error(self, place: &str) -> Error {
        self.told(place, "run `excom db check`, and `excom db migrate` with the newest Excom in use")
    }

    /// The same, where something else makes the schema what it has to be.
    pub(super) fn told(self, place: &str, migrate: &str) -> Error {
        match self {
            Self::Told(error) => error,
            Self::Silent => Error::new(
                ErrorKind::Unavailable,
                format!("{place} did not answer in time; whether it did what was asked is not known"),
            )
            .hint("try again: what was done already is not done twice"),
            Self::Away(why) => unreachable(&why, place),
            Self::CalledOff(Some(holder)) => Error::new(
                ErrorKind::Unavailable,
                format!("a lock in {place} was waited for in vain: {holder}, holds it; nothing was written"),
            )
            .hint("wait until that session is done, or end it with pg_terminate_backend; then try again"),
            Self::CalledOff(None) => Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{place} did not answer in time, and the statement was called off; nothing was written"
                ),
            )
            .hint("try again; if it stays so, look into pg_stat_activity for what keeps the server busy"),
            Self::Unconnected(PoolError::PostCreateHook(HookError::Message(told))) => {
                trust::another(place, &told)
            }
            Self::Unconnected(PoolError::Backend(error)) => unconnected(error, place, migrate),
            Self::Unconnected(error) => Error::new(
                ErrorKind::Unavailable,
                format!("all connections to {place} have been busy for too long"),
            )
            .hint("look for statements that hang there, or raise [database] connections")
            .because(error),
            Self::Server(error) => told(error, place, migrate),
        }
    }
}

/// Whether the connection is gone, or was never there.
fn lost(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    let cut = || error.source().is_some_and(|cause| cause.is::<std::io::Error>());
    error.is_closed() || (cut() && !trust::is_refused(error))
}

fn unconnected(error: tokio_postgres::Error, place: &str, migrate: &str) -> Error {
    if error.code().is_some() {
        return told(error, place, migrate);
    }
    if let Some(refused) = trust::refused(&error, place, SPELLING) {
        return refused.because(error);
    }
    if reason(&error).contains("server does not support TLS") {
        return Error::new(ErrorKind::Configuration, format!("{place} does not support TLS"))
            .hint("switch it on there, or say in [database] url that it is not wanted: `sslmode=disable`")
            .because(error);
    }
    unreachable(&reason(&error), place).because(error)
}

fn unreachable(why: &str, place: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{place} cannot be connected to: {why}"))
        .hint("check that the server runs, and host and port in [database] url")
        .hint("`sslmode` in the URL says whether TLS is used, `sslrootcert` whom to trust")
}

/// A PostgreSQL error about a database.
fn told(error: tokio_postgres::Error, place: &str, migrate: &str) -> Error {
    let said = error.as_db_error().map_or_else(|| reason(&error), |told| told.message().to_owned());
    let code = error.code().map_or("", SqlState::code);
    let (kind, what, hint) = match code {
        "" if lost(&error) => (
            ErrorKind::Unavailable,
            format!("the connection to {place} was lost; whether it did what was asked is not known"),
            "try again: what was done already is not done twice",
        ),
        "40001" | "40P01" | "55P03" | "57014" => (
            ErrorKind::Unavailable,
            format!("{place} interrupted a statement ({said}); nothing was written"),
            "try again; if it stays so, look for transactions there that hang",
        ),
        "53300" => (
            ErrorKind::Unavailable,
            format!("{place} takes no more connections ({said})"),
            "lower [database] connections, raise the server's max_connections, or put PgBouncer before it",
        ),
        "53100" => (
            ErrorKind::Full,
            format!("no room is left for {place}; nothing was written"),
            "free space on the server; what was acknowledged before is kept and can be read",
        ),
        "25006" => (
            ErrorKind::ReadOnly,
            format!("{place} cannot be written ({said})"),
            "name the primary server in [database] url: `target_session_attrs=read-write` finds it among several hosts",
        ),
        "28000" | "28P01" => (
            ErrorKind::Configuration,
            format!("{place} refuses the user ({said})"),
            "check user and password in [database] url; `sslmode`, `sslcert` and `sslkey` there are for a server that wants \
             TLS or a certificate",
        ),
        "3D000" => (
            ErrorKind::Configuration,
            format!("{place} is not there ({said})"),
            "create it with `createdb`, or name another one in [database] url",
        ),
        "26000" | "42P05" => (
            ErrorKind::Configuration,
            format!("{place} mixes up the prepared statements of its connections ({said})"),
            "a PgBouncer in transaction mode does, unless it is 1.21 or newer and max_prepared_statements is over 0: set \
             [database] prepare = false",
        ),
        "42501" => (
            ErrorKind::Configuration,
            format!("{place} does not let the user do that ({said})"),
            "the user needs its own database, or CREATE in it once and USAGE of the schema `excom` with all its tables",
        ),
        "42P01" | "3F000" | "42883" | "42703" => (
            ErrorKind::Incompatible,
            format!("the schema in {place} is not the one that this Excom needs ({said})"),
            migrate,
        ),
        "22021" => (
            ErrorKind::InvalidValue,
            format!("a text holds what {place} cannot store ({said})"),
            "remove NUL characters",
        ),
        "22P02" | "22P05" | "22003" => (
            ErrorKind::InvalidValue,
            format!("a value holds what {place} cannot store as jsonb ({said})"),
            "remove NUL characters, and numbers beyond 131072 digits",
        ),
        "XX001" | "XX002" => (
            ErrorKind::Corrupt,
            format!("{place} is damaged ({said})"),
            "restore it from a backup; damaged indexes are made again by REINDEX",
        ),
        _ if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => (
            ErrorKind::Unavailable,
            format!("{place} is away ({said})"),
            "try again; if it stays so, look into the server's log",
        ),
        _ if code.starts_with("54") => (
            ErrorKind::TooLarge,
            format!("what was written is larger than {place} can hold ({said})"),
            "offload large values, shorten names, or push a pointer to the data",
        ),
        _ => (ErrorKind::Other, format!("{place} failed ({said})"), "run `excom doctor`"),
    };
    Error::new(kind, what).hint(hint).because(error)
}

/// An error with its causes, which the driver does not show by itself.
fn reason(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// A row that no Excom wrote.
pub(super) fn damaged(what: &str) -> Failure {
    Failure::Told(
        Error::new(ErrorKind::Corrupt, format!("the metadata database has {what}"))
            .hint("another program wrote to its tables, or a newer Excom; run `excom doctor`"),
    )
}
