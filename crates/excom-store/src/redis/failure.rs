//! What the server or the connection reports, in the terms of the engine.

use std::io;
use std::sync::Arc;

use excom_core::{Error, ErrorKind};
use redis::{ErrorKind as Kind, RedisError, ServerErrorKind};

/// Whether the same command may succeed in a moment.
pub(super) fn passes(error: &RedisError) -> bool {
    match error.kind() {
        Kind::Io => !error.is_timeout() && !untrusted(error),
        Kind::ClusterConnectionNotFound => true,
        Kind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly,
        ) => true,
        _ => matches!(error.code(), Some("BUSY" | "NOREPLICAS" | "UNBLOCKED")),
    }
}

/// Whether the connection is of no use any more, or leads to the wrong server.
pub(super) fn ends_connection(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        Kind::Io | Kind::Parse | Kind::ClusterConnectionNotFound | Kind::Server(ServerErrorKind::ReadOnly)
    )
}

/// The server's certificate is not believed, or it speaks no TLS at all.
fn untrusted(error: &RedisError) -> bool {
    use std::error::Error as _;
    // The client shares its causes.
    let source =
        error.source().and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>());
    let source = source.and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::InvalidData)
}

/// An error with what was being done, where, and what to do.
pub(super) fn told(error: &RedisError, doing: &str, store: &dyn std::fmt::Display) -> Error {
    let text = error.to_string();
    let full = error.code() == Some("OOM") || text.contains("OOM command not allowed");
    let (kind, hint) = match (error.kind(), error.code()) {
        _ if full => (ErrorKind::Full, "raise maxmemory, or remove what is not needed; nothing was written"),
        _ if untrusted(error) => (
            ErrorKind::Configuration,
            "check that the port speaks TLS, and set the root certificate that signed the server's",
        ),
        (Kind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            (ErrorKind::Configuration, "check the user and the password in the URL")
        }
        (Kind::Server(ServerErrorKind::NoPerm), _) => (
            ErrorKind::Configuration,
            "let the ACL user run get, mget, set, eval, exists, hget, hset, hdel, hexists, hlen, hkeys, rename, \
             persist, pexpire, unlink, scan, waitaof, info and config|get on the keys of the store",
        ),
        (_, Some("MISCONF")) => (
            ErrorKind::ReadOnly,
            "the server cannot write to its disk: free space there, and look into its log",
        ),
        _ if text.contains("WAITAOF") => {
            (ErrorKind::Configuration, "set appendonly yes; the server cannot wait for its disk without it")
        }
        (Kind::InvalidClientConfig, _) => (ErrorKind::Configuration, "check the URL of the store"),
        (Kind::Server(ServerErrorKind::ReadOnly), _) => (
            ErrorKind::Unavailable,
            "this is a replica; give the URL of the primary, or wait for the failover",
        ),
        _ if passes(error) || ends_connection(error) || error.is_timeout() => (
            ErrorKind::Unavailable,
            "try again; check that the server runs, can be reached, and speaks TLS if the URL says so",
        ),
        _ if text.contains("switch database") => {
            (ErrorKind::Configuration, "give a number of a database that the server has")
        }
        _ => (ErrorKind::Other, "look into the server's log"),
    };
    Error::new(kind, format!("cannot {doing} in {store}: {text}")).hint(hint)
}
