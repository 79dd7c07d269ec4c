//! What a database refuses by the rules of its writing methods, in the same words whichever it is.

use crate::attempt::{Attempt, AttemptInfo};
use crate::db::MetadataDb;
use crate::entry::Version;
use crate::{Error, ErrorKind, XComKey};

/// The refusal of a write by an attempt that was replaced.
pub fn superseded(attempt: &Attempt, current: &AttemptInfo) -> Error {
    Error::new(
        ErrorKind::Superseded,
        format!(
            "attempt {} of {} was superseded: try {} started at {:.0}; nothing was written",
            attempt.id, attempt.ti, current.try_number, current.started_at
        ),
    )
    .hint("a newer attempt took over: a later try, or another process with the same run id; this one should end")
}

/// The refusal of a write by an attempt that never started.
pub fn not_started(attempt: &Attempt) -> Error {
    Error::new(
        ErrorKind::NotStarted,
        format!("attempt {} of {} has not started; nothing was written", attempt.id, attempt.ti),
    )
    .hint("start the attempt before it pushes")
}

/// The refusal of an offloaded push whose intent was collected as abandoned.
pub fn intent_gone(key: &XComKey, version: Version) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the push of {key} (version {version}) took so long that it was taken for abandoned"),
    )
    .hint("push again; the setting is [xcom] abandoned_after")
}

/// The refusal of a push, among others that happen together, under a version that was pushed before.
pub fn version_taken(key: &XComKey, version: Version) -> Error {
    Error::new(
        ErrorKind::Exists,
        format!("version {version} of {key} was pushed before; nothing was written"),
    )
    .hint("push with a new version")
}

/// The refusal of an offloaded push under a version whose object is just being removed.
pub fn being_removed(key: &XComKey, version: Version) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("what an earlier push of {key} (version {version}) left is just being removed"),
    )
    .hint("push again, with a new version or after a moment")
}

/// The refusal of a push of a secret whose key was retired meanwhile.
pub fn key_gone(key: &XComKey, id: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the key `{id}` was retired while the secret {key} was pushed"),
    )
    .hint("push again")
}

/// The refusal of assets where another keeps them.
pub fn assets_elsewhere(db: &(impl MetadataDb + ?Sized)) -> Error {
    Error::new(
        ErrorKind::InvalidRequest,
        format!("assets and their events are kept by Airflow's own server, and not in {db} by Excom"),
    )
    .hint("run DAGs that need them with Airflow's own server")
}
