//! Opening SQLite: pragmas, file modes, the pool of readers.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use super::failure::told;

/// What an acknowledged push survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process at any moment (`synchronous=NORMAL`).
    #[default]
    Normal,
    /// A power cut too: each commit waits for the disk (`synchronous=FULL`).
    Full,
}

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What an acknowledged push survives.
    pub durability: Durability,
    /// Only look: nothing is created, migrated or written.
    pub read_only: bool,
}

/// 8 KiB: rows of about a kilobyte leave a third of a 4 KiB page empty, and the WAL's checksums make
/// every commit dearer with the page's size.
const PAGE_SIZE: u32 = 8 << 10;

/// How often a busy database is tried again before the caller hears of it: for about 30 s.
const BUSY_TRIES: i32 = 30_000;

const KEPT_READERS: usize = 16;

pub(super) fn open(path: &Path, options: Options) -> Result<Connection> {
    if !options.read_only {
        create(path)?;
    }
    let access =
        if options.read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let access = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, access).map_err(|e| told(e, path))?;
    connection.busy_handler(Some(wait)).map_err(|e| told(e, path))?;
    if !options.read_only {
        // Before any pragma that writes: what is not ours is refused untouched.
        super::schema::version(&connection, path)?;
    }
    match configure(&connection, options).map(|()| connection) {
        Err(error) if options.read_only && unwritable(&error) && !wal(path).exists() => {
            open_immutable(path, access).map_err(|e| told(e, path))
        }
        other => other.map_err(|e| told(e, path)),
    }
}

/// Opens a file that is Airflow's for writing. How it keeps its journal stays as it is; where that is no WAL, nothing is
/// acknowledged before it is on the disk, because a power cut could damage the file.
pub(super) fn open_airflows(path: &Path, durability: Durability) -> Result<(Connection, Durability)> {
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, access).map_err(|e| told(e, path))?;
    connection.busy_handler(Some(wait)).map_err(|e| told(e, path))?;
    let configured = (|| {
        if connection.is_readonly("main")? {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY), None));
        }
        configure_all(&connection)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let durability = if journal == "wal" { durability } else { Durability::Full };
        synchronous(&connection, durability)?;
        Ok(durability)
    })();
    configured.map(|durability| (connection, durability)).map_err(|e| told(e, path))
}

fn wal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Whether SQLite could not make the WAL's shared memory, which even reading needs.
fn unwritable(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::ErrorCode::{CannotOpen, ReadOnly};
    matches!(error.sqlite_error_code(), Some(ReadOnly | CannotOpen))
}

/// Opens a file that was closed cleanly in a folder that cannot be written. Without a WAL nobody is
/// writing, so it can be read as it stands.
fn open_immutable(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => uri.push(*byte as char),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    Connection::open_with_flags(uri, access | OpenFlags::SQLITE_OPEN_URI)
}

/// Creates the file before SQLite does, readable by its owner only; SQLite gives its WAL and shared
/// memory the same mode.
fn create(path: &Path) -> Result<()> {
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
    match how.open(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            let kind = match error.kind() {
                std::io::ErrorKind::StorageFull => ErrorKind::Full,
                std::io::ErrorKind::NotFound => ErrorKind::Configuration,
                _ => ErrorKind::ReadOnly,
            };
            Err(Error::new(kind, format!("the database {} cannot be opened for writing", path.display()))
                .because(error)
                .hint("check that its folder exists and that this user may write there"))
        }
    }
}

/// What every connection is told.
fn configure_all(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(96);
    // Plans do not depend on the values that are bound: a statement would be compiled again for every new one.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "trusted_schema", false)
}

fn synchronous(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let synchronous = match durability {
        Durability::Normal => "normal",
        Durability::Full => "full",
    };
    connection.pragma_update(None, "synchronous", synchronous)
}

fn configure(connection: &Connection, options: Options) -> rusqlite::Result<()> {
    configure_all(connection)?;
    if options.read_only {
        // The first look at the file is where an unwritable folder shows.
        return connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    }
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    synchronous(connection, options.durability)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Turning WAL on needs the database alone; when two processes create it, one must wait.
    for attempt in 0.. {
        let mode: rusqlite::Result<String> =
            connection.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0));
        match mode {
            Ok(mode) if mode == "wal" => break,
            Ok(_) | Err(_) if attempt < BUSY_TRIES && busy(&mode) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(_) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn busy(mode: &rusqlite::Result<String>) -> bool {
    match mode {
        Ok(mode) => mode != "memory",
        Err(error) => matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ffi::ErrorCode::DatabaseBusy | rusqlite::ffi::ErrorCode::DatabaseLocked)
        ),
    }
}

thread_local! {
    static IMPATIENT: Cell<bool> = const { Cell::new(false) };
}

/// Does something in this thread that does not wait when the database is busy.
pub(super) fn impatiently<T>(act: impl FnOnce() -> T) -> T {
    struct Patient;
    impl Drop for Patient {
        fn drop(&mut self) {
            IMPATIENT.set(false);
        }
    }
    IMPATIENT.set(true);
    let _patient = Patient;
    act()
}

/// SQLite's own waiting grows to 100 ms a step, far longer than our transactions take.
fn wait(tries: i32) -> bool {
    if IMPATIENT.get() {
        return false;
    }
    let pause = if tries < 20 { Duration::from_micros(100) } else { Duration::from_millis(1) };
    std::thread::sleep(pause);
    tries < BUSY_TRIES
}

/// Connections for reading, used inline by whoever polls.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::new(Vec::new()) }
    }

    /// Runs a read on a connection of its own.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, super::failure::Failure>,
    ) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.path, Options { read_only: true, ..Options::default() })?,
        };
        let result = read(&connection).map_err(|failure| failure.into_error(&self.path));
        // After an error the connection may be in the middle of a transaction; a new one is cheap.
        if result.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT_READERS {
                idle.push(connection);
            }
        }
        result
    }
}
