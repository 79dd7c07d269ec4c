//! What SQLite reports, as errors that say what, where, why and what to do.

use std::path::Path;

use excom_core::{Error, ErrorKind};
use rusqlite::ffi::ErrorCode;

/// An operation's outcome inside a transaction.
#[derive(Debug)]
pub(super) enum Failure {
    /// Refused by a rule; nothing was written, so the transaction can go on.
    Refused(Error),
    /// SQLite failed; the transaction is rolled back.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Sqlite(error) => told(error, path),
        }
    }
}

/// A SQLite error about the database at a path.
pub(super) fn told(error: rusqlite::Error, path: &Path) -> Error {
    let at = path.display();
    if error.to_string().contains("no such table: excom_") {
        let what = format!("what Excom needs beside Airflow's tables of {at} is not there");
        return Error::new(ErrorKind::Incompatible, what)
            .hint("run `excom db check`; `excom db attach` makes what is missing beside Airflow's tables")
            .because(error);
    }
    if matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
    ) {
        return Error::new(ErrorKind::Corrupt, format!("{at} has a row that no Excom wrote so"))
            .hint(
                "it is damaged, or another program wrote to its tables, or a newer Excom; run `excom doctor`",
            )
            .because(error);
    }
    let code = error.sqlite_error_code();
    let (kind, what, hint) = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Unavailable,
            format!("{at} has been written by another process for too long"),
            "try again; if it stays so, look for a program that hangs while it holds the database",
        ),
        Some(ErrorCode::DiskFull) => (
            ErrorKind::Full,
            format!("no room is left for {at}; nothing was written"),
            "free space on that file system; what was acknowledged before is kept and can be read",
        ),
        Some(ErrorCode::ReadOnly) => (
            ErrorKind::ReadOnly,
            format!("{at} cannot be written"),
            "check the owner and mode of the file and of its folder, and that the file system is not mounted read-only",
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            ErrorKind::ReadOnly,
            format!("{at} cannot be opened"),
            "check that the folder exists and that its owner and mode let this user write",
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            ErrorKind::Corrupt,
            format!("{at} is damaged"),
            "restore it from a backup, or save what can be read with `sqlite3 FILE .recover`; move it away to begin anew",
        ),
        Some(ErrorCode::NotADatabase) => (
            ErrorKind::Corrupt,
            format!("{at} is not an SQLite database, or its beginning is damaged"),
            "restore it from a backup, or move it away to begin anew",
        ),
        Some(ErrorCode::SystemIoFailure) => (
            ErrorKind::Unavailable,
            format!("the file system failed under {at}"),
            "look into the system's log for the disk; what was acknowledged before is kept",
        ),
        Some(ErrorCode::TooBig) => (
            ErrorKind::TooLarge,
            format!("the value is larger than SQLite can hold in {at}"),
            "offload large values, or push a pointer to the data",
        ),
        _ => (ErrorKind::Other, format!("the database {at} failed"), "run `excom doctor`"),
    };
    Error::new(kind, what).hint(hint).because(error)
}

/// A row that no Excom wrote.
pub(super) fn damaged(what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, what.to_owned().into())
}
