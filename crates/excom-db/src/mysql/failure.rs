//! What MySQL and MariaDB report, as errors that say what, where, why and what to do.

use excom_core::{Error, ErrorKind};
use mysql_async::{DriverError, Error as Reported};

use crate::trust::{self, Spelling};

/// How the URL says whom to trust.
const SPELLING: Spelling = Spelling { authority: "ssl_ca", any_name: "ssl_mode=verify_ca" };

/// A statement's or transaction's outcome when it did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server or the driver said so.
    Server(Reported),
    /// The connection was lost at the end of a transaction, which may have been done.
    Unsure(Reported),
    /// There was no connection: the statement was never sent.
    Unconnected(Reported),
    /// Another caller has just found the server away; why.
    Away(String),
    /// A lock was waited for in vain; whose, if the server told.
    Locked(Reported, Option<String>),
    /// All connections were lent for long.
    Busy,
    /// Nothing came back for long.
    Silent,
    /// It holds with the database, but not with us.
    Told(Error),
}

impl From<Reported> for Failure {
    fn from(error: Reported) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// Errors after which the connection is gone, or was never made: the server restarts, takes no more, or ended it.
const GONE: [u16; 12] = [1040, 1041, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1203, 1927];

/// Errors by which another transaction was in the way: a deadlock, a failover.
const IN_THE_WAY: [u16; 4] = [1213, 1020, 1047, 1637];

/// What an idle connection is told before it is closed, by MySQL.
const IDLE_TOO_LONG: u16 = 4031;

impl Failure {
    /// The code of the server's own error.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Server(error) | Self::Unsure(error) | Self::Unconnected(error) | Self::Locked(error, _) => {
                code(error)
            }
            Self::Away(_) | Self::Busy | Self::Silent | Self::Told(_) => None,
        }
    }

    /// Whether a row is there already.
    pub(super) fn is_duplicate(&self) -> bool {
        self.code() == Some(1062)
    }

    /// Whether a database, a table or a column is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.code(), Some(1049 | 1146 | 1054))
    }

    /// Whether the connection is of no use any more.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Server(error) => is_lost(error),
            Self::Unsure(_) | Self::Unconnected(_) | Self::Away(_) => true,
            Self::Locked(..) | Self::Busy | Self::Silent | Self::Told(_) => false,
        }
    }

    /// Why there was no connection, if the server is away.
    pub(super) fn absence(&self) -> Option<String> {
        match self {
            // One that takes no more connections is there.
            Self::Unconnected(error)
                if is_lost(error) && ![Some(1040), Some(1203)].contains(&code(error)) =>
            {
                Some(error.to_string())
            }
            _ => None,
        }
    }

    /// Whether the server ended it because it took too long, or waited for too long.
    pub(super) fn is_interrupted(&self) -> bool {
        matches!(self.code(), Some(1205 | 1317 | 1969 | 3024))
    }

    /// Whether a table is not there.
    pub(super) fn is_no_table(&self) -> bool {
        self.code() == Some(1146)
    }

    /// Whether a database is not there.
    pub(super) fn is_no_database(&self) -> bool {
        self.code() == Some(1049)
    }

    /// The same failure, with who held the lock if it is about one.
    pub(super) fn held_by(self, holder: Option<String>) -> Self {
        match self {
            Self::Server(error) if code(&error) == Some(1205) => Self::Locked(error, holder),
            other => other,
        }
    }

    /// Whether the same may succeed soon: the server restarts or fails over, the connection was cut, or another
    /// transaction was in the way.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Unsure(_) | Self::Away(_) => true,
            Self::Server(error) => {
                is_lost(error) || code(error).is_some_and(|code| IN_THE_WAY.contains(&code))
            }
            Self::Unconnected(error) => is_lost(error),
            // It was waited for long enough.
            Self::Locked(..) | Self::Busy | Self::Silent | Self::Told(_) => false,
        }
    }

    /// Whether it may have been done nevertheless. What was lost before its end was told to end is undone.
    pub(super) fn in_doubt(&self) -> bool {
        matches!(self, Self::Unsure(_) | Self::Silent)
    }

    /// The same failure of a commit.
    pub(super) fn while_committing(self) -> Self {
        match self {
            Self::Server(error) if is_lost(&error) => Self::Unsure(error),
            other => other,
        }
    }

    pub(super) fn into_error(self, place: &str) -> Error {
        match self {
            Self::Told(error) => error,
            Self::Silent => Error::new(
                ErrorKind::Unavailable,
                format!("{place} did not answer in time; whether it did what was asked is not known"),
            )
            .hint("try again: what was done already is not done twice"),
            Self::Away(why) => unreachable(&why, place),
            Self::Locked(error, holder) => Error::new(
                ErrorKind::Unavailable,
                match holder {
                    Some(holder) => format!(
                        "a lock in {place} was waited for in vain: {holder}, holds it; nothing was written"
                    ),
                    None => format!("a lock in {place} was waited for in vain; nothing was written"),
                },
            )
            .hint("SHOW FULL PROCESSLIST tells what is under way there; wait until it is done, or end it with KILL")
            .because(error),
            Self::Busy => Error::new(
                ErrorKind::Unavailable,
                format!("all connections to {place} have been busy for too long"),
            )
            .hint("look for statements that hang there, or raise [database] connections"),
            Self::Unsure(error) => Error::new(
                ErrorKind::Unavailable,
                format!("the connection to {place} was lost; whether it did what was asked is not known"),
            )
            .hint("try again: what was done already is not done twice")
            .because(error),
            Self::Unconnected(error) if code(&error).is_none() => {
                if let Some(refused) = trust::refused(&error, place, SPELLING) {
                    return refused.because(error);
                }
                if matches!(error, Reported::Driver(DriverError::NoClientSslFlagFromServer)) {
                    return Error::new(ErrorKind::Configuration, format!("{place} does not support TLS"))
                        .hint("switch it on there, or say in [database] url that it is not wanted: `ssl_mode=disabled`")
                        .because(error);
                }
                unreachable(&error.to_string(), place).because(error)
            }
            Self::Server(error) | Self::Unconnected(error) => told(error, place),
        }
    }
}

fn unreachable(why: &str, place: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{place} cannot be connected to: {why}"))
        .hint("check that the server runs, and host and port in [database] url")
        .hint("`ssl_mode` in the URL says whether TLS is used, `ssl_ca` whom to trust")
}

fn code(error: &Reported) -> Option<u16> {
    match error {
        Reported::Server(error) => Some(error.code),
        _ => None,
    }
}

/// Whether the connection is gone, or was never there.
fn is_lost(error: &Reported) -> bool {
    match error {
        Reported::Server(error) => GONE.contains(&error.code) || error.code == IDLE_TOO_LONG,
        Reported::Io(_) => !trust::is_refused(error),
        Reported::Driver(error) => {
            matches!(error, DriverError::ConnectionClosed | DriverError::PacketOutOfOrder)
        }
        Reported::Other(_) | Reported::Url(_) => false,
    }
}

/// A server's error about a database.
fn told(error: Reported, place: &str) -> Error {
    let said = match &error {
        Reported::Server(error) => error.message.clone(),
        other => other.to_string(),
    };
    let (kind, what, hint) = match code(&error) {
        None if is_lost(&error) => (
            ErrorKind::Unavailable,
            format!("the connection to {place} was lost; nothing was written"),
            "try again; if it stays so, look into the server's log",
        ),
        Some(1205 | 1213 | 1020 | 1317 | 1969 | 3024) => (
            ErrorKind::Unavailable,
            format!("{place} interrupted a statement ({said}); nothing was written"),
            "try again; if it stays so, look for transactions there that hang",
        ),
        Some(1040 | 1203 | 1226) => (
            ErrorKind::Unavailable,
            format!("{place} takes no more connections ({said})"),
            "lower [database] connections, or raise the server's max_connections",
        ),
        Some(1461) => (
            ErrorKind::Unavailable,
            format!("{place} keeps no more prepared statements ({said})"),
            "raise the server's max_prepared_stmt_count, or lower [database] connections",
        ),
        Some(1021 | 1114) => (
            ErrorKind::Full,
            format!("no room is left for {place}; nothing was written"),
            "free space on the server; what was acknowledged before is kept and can be read",
        ),
        Some(1290 | 1792 | 1836) => (
            ErrorKind::ReadOnly,
            format!("{place} cannot be written ({said})"),
            "name the primary server in [database] url",
        ),
        Some(1045 | 1130 | 1251 | 1524 | 1698 | 1862 | 1820 | 3118) => (
            ErrorKind::Configuration,
            format!("{place} refuses the user ({said})"),
            "check user and password in [database] url, from which hosts the user may come, and whether it must show a \
             certificate (`ssl_cert`, `ssl_key`)",
        ),
        Some(1049) => (
            ErrorKind::Configuration,
            format!("{place} is not there ({said})"),
            "create it with CREATE DATABASE, or name another one in [database] url",
        ),
        Some(1044 | 1142 | 1143 | 1227 | 1370) => (
            ErrorKind::Configuration,
            format!("{place} does not let the user do that ({said})"),
            "the user needs SELECT, INSERT, UPDATE and DELETE in its database, and CREATE, ALTER and INDEX for `excom db migrate`",
        ),
        Some(1146 | 1054 | 1305) => (
            ErrorKind::Incompatible,
            format!("the schema in {place} is not the one that this Excom needs ({said})"),
            "run `excom db check`, and `excom db migrate` with the newest Excom in use",
        ),
        Some(1034 | 1035 | 1194 | 1195 | 1712) => (
            ErrorKind::Corrupt,
            format!("{place} is damaged ({said})"),
            "restore it from a backup; CHECK TABLE tells which table it is",
        ),
        Some(3140 | 3157 | 4025) => (
            ErrorKind::InvalidValue,
            format!("{place} takes that for no JSON ({said}); nothing was written"),
            "what is nested deeper than the server allows (MariaDB: 31 lists or dicts) has to be offloaded",
        ),
        Some(1267 | 1366 | 1977) => (
            ErrorKind::InvalidRequest,
            format!("{place} cannot hold that text ({said}); nothing was written"),
            "leave out of names what the character set of the columns has not, such as emoji in utf8mb3",
        ),
        Some(1153 | 1301 | 1406 | 1118) => (
            ErrorKind::TooLarge,
            format!("what was written is larger than {place} can hold ({said}); nothing was written"),
            "offload large values, shorten names, or raise the server's max_allowed_packet",
        ),
        Some(code) if GONE.contains(&code) || code == IDLE_TOO_LONG || code == 1047 => (
            ErrorKind::Unavailable,
            format!("{place} is away ({said})"),
            "try again; if it stays so, look into the server's log",
        ),
        _ => (ErrorKind::Other, format!("{place} failed ({said})"), "run `excom doctor`"),
    };
    Error::new(kind, what).hint(hint).because(error)
}

/// A row that no Excom wrote.
pub(super) fn damaged(what: &str) -> Failure {
    Failure::Told(
        Error::new(ErrorKind::Corrupt, format!("the metadata database has {what}"))
            .hint("another program wrote to its tables, or a newer Excom; run `excom doctor`"),
    )
}
