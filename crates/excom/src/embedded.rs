//! The embedded engine: everything in one folder, no service.
//!
//! The folder, called the home, has the metadata database `excom.db` (unless `[database] url` names one on a server),
//! the values that are files in `values/`, and the seal key `seal.key`. Several processes may have it open at once. Nothing special
//! is needed after one was interrupted: what it left is collected by
//! [`Engine::maintain`](crate::Engine::maintain).

mod clock;
pub mod database;
mod keys;
mod stores;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use excom_core::engine::{self, Ledger};
use excom_core::{Engine, Error, ErrorKind, MetadataDb, Result, ValueStore};
use excom_store::Files;

pub use clock::SystemClock;
pub use keys::{retire_key, rotate_keys};

use self::stores::Stores;
pub use self::stores::place_of_store;
use crate::config::{DatabaseMode, Settings};

/// The mark under which the database remembers the seal key's fingerprint.
pub const SEAL_KEY_MARK: &str = "seal_key_fingerprint";

/// What is where in a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The home that settings name.
    pub fn of(settings: &Settings) -> Self {
        Self(settings.core.home.to_path_buf())
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The metadata database.
    pub fn database(&self) -> PathBuf {
        self.0.join("excom.db")
    }

    /// The secret that seals values which are files.
    pub fn seal_key(&self) -> PathBuf {
        self.0.join("seal.key")
    }

    /// The logs of tries.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The locks of runs that are being run.
    pub fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// The values that are files.
    pub fn values(&self) -> PathBuf {
        self.0.join("values")
    }
}

/// Opens the embedded engine and makes what is missing: the folder (for its owner only), the key, the
/// database, the folder for values.
///
/// It blocks for some milliseconds. Call [`Engine::close`](crate::Engine::close) before the program
/// ends, and drive [`Engine::maintain`](crate::Engine::maintain) in one that runs for long.
///
/// ```
/// use excom::{Caller, Value, XComKey, config::Settings, embedded};
///
/// # pollster::block_on(async {
/// let folder = tempfile::tempdir().unwrap();
/// let engine = embedded::open(&Settings::at(folder.path()))?;
/// let key = XComKey::new("weather", "manual__1", "count", -1, "rows")?;
/// engine.push(&Caller::user("ana"), &key, Value::of(&365)?.into()).await?;
/// engine.close().await?;
/// # Ok::<(), excom::Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// [`ErrorKind::Configuration`] when the home is no folder, or the seal key is not the one that the
/// database was used with; [`ErrorKind::ReadOnly`] when the folder cannot be written;
/// [`ErrorKind::Full`]; whatever the database reports. Each says which file, why, and what to do.
pub fn open(settings: &Settings) -> Result<Engine> {
    make_folder(settings)?;
    assemble(settings, Access::Write)
}

/// Opens the embedded engine to read what is there, and makes nothing; none when nothing was ever pushed
/// there. In a folder that cannot be written, reads are not noted in the ledger.
///
/// # Errors
/// As [`open`]. With `[xcom] ledger = "strict"` a folder that cannot be written is an error, since no
/// read may go unnoted.
pub fn open_existing(settings: &Settings) -> Result<Option<Engine>> {
    if is_used(settings)? {
        let opened = match assemble(settings, Access::Write) {
            Err(error) if error.kind() == ErrorKind::ReadOnly && *settings.xcom.ledger != Ledger::Strict => {
                assemble(settings, Access::Read)
            }
            opened => opened,
        };
        return opened.map(Some);
    }
    Ok(None)
}

/// Whether anything was ever pushed there.
fn is_used(settings: &Settings) -> Result<bool> {
    if settings.database.url.is_some() {
        // Airflow's tables are there before Excom is attached; to open the database tells what to do.
        let made = *settings.database.mode == DatabaseMode::Attached || database::schema(settings)?.found > 0;
        // The key that seals values may have to be made.
        return Ok(made && make_folder(settings).is_ok());
    }
    let file = Home::of(settings).database();
    let looked = || file.try_exists().map_err(|cause| failure("look for", &file, settings, cause));
    Ok(is_folder(settings)? && looked()?)
}

/// The store of the values that are files, for looking at the files themselves.
///
/// # Errors
/// When its folder cannot be made.
pub fn values(settings: &Settings) -> Result<Arc<dyn ValueStore>> {
    Ok(Arc::new(Files::open(&Home::of(settings).values())?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
}

fn assemble(settings: &Settings, access: Access) -> Result<Engine> {
    let read_only = access == Access::Read;
    let db = database::open(settings, read_only)?;
    let keys = keys::load(&*db, settings, read_only)?;
    let stores = Stores::open(&db, settings, &keys, read_only)?;
    let mut rules = engine::Settings::from(settings);
    if read_only {
        rules.ledger = Ledger::Off;
    }
    let builder = Engine::builder(db, Arc::new(SystemClock)).settings(rules).keys(keys);
    let builder = builder.backend(stores.current).elsewhere(stores.elsewhere);
    let builder = stores.others.into_iter().fold(builder, engine::Builder::reading);
    Ok(builder.variable_overrides(settings.variable_overrides.clone()).build())
}

/// What the database remembers under a name, which is the value given when it remembers nothing yet.
fn remember(db: &dyn MetadataDb, name: &str, value: &str, read_only: bool) -> Result<String> {
    // The database waits without a runtime, so any thread can wait for it. Looking first spares every
    // start but the first one a write.
    pollster::block_on(async {
        match db.mark(name).await? {
            Some(known) => Ok(known),
            None if read_only => Ok(value.to_owned()),
            None => db.set_mark(name, value).await,
        }
    })
}

/// Whether the home is there.
///
/// # Errors
/// [`ErrorKind::Configuration`] when it is no folder, or cannot be looked at.
pub fn is_folder(settings: &Settings) -> Result<bool> {
    let home = Home::of(settings);
    match std::fs::metadata(home.folder()) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(Error::new(
            ErrorKind::Configuration,
            format!("the home {} (from {}) is not a folder", home.0.display(), settings.core.home.origin()),
        )
        .hint("name a folder with --home, EXCOM_HOME or [core] home, or move that file away")),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(failure("look at", home.folder(), settings, cause)),
    }
}

fn make_folder(settings: &Settings) -> Result<()> {
    if is_folder(settings)? {
        return Ok(());
    }
    let home = Home::of(settings);
    if let Some(parent) = home.folder().parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|cause| failure("create", parent, settings, cause))?;
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(home.folder()) {
        // Another process was faster.
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && home.folder().is_dir() => Ok(()),
        Err(cause) => Err(failure("create", home.folder(), settings, cause)),
        Ok(()) => Ok(()),
    }
}

fn failure(what: &str, path: &Path, settings: &Settings, cause: io::Error) -> Error {
    let origin = settings.core.home.origin();
    let message = format!("cannot {what} {}, for the home that {origin} names", path.display());
    Error::new(kind_of(&cause), message)
        .because(cause)
        .hint("check the owner and mode of its parent folder, and that the file system is not read-only")
        .hint("or name another folder with --home, EXCOM_HOME or [core] home")
}

/// What an operating system's error means to a caller.
pub(crate) fn kind_of(cause: &io::Error) -> ErrorKind {
    match cause.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Configuration,
    }
}

#[cfg(test)]
mod tests {
    use excom_core::{Caller, PullOptions, Value, XComKey};

    use super::*;

    #[test]
    fn a_home_opens_again_with_all_its_values() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::at(folder.path().join("deep/home"));
        assert!(open_existing(&settings).unwrap().is_none());
        assert!(!folder.path().join("deep").exists(), "reading makes nothing");

        let key = |task| XComKey::new("d", "r", task, -1, "k").unwrap();
        let large = Value::of(&"x".repeat(100_000)).unwrap();
        let engine = open(&settings).unwrap();
        let ana = Caller::user("ana");
        pollster::block_on(async {
            engine.push(&ana, &key("small"), Value::of(&1)?.into()).await?;
            engine.push(&ana, &key("large"), large.clone().into()).await?;
            engine.close().await
        })
        .unwrap();
        drop(engine);

        let engine = open_existing(&settings).unwrap().unwrap();
        let keys = [key("small"), key("large")];
        let answers = pollster::block_on(engine.pull(&ana, &keys, PullOptions::default())).unwrap();
        assert_eq!(answers[0].found().unwrap().value.as_str(), "1");
        assert_eq!(answers[1].found().unwrap().value, large);
    }

    #[test]
    fn another_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::at(folder.path());
        drop(open(&settings).unwrap());
        std::fs::write(Home::of(&settings).seal_key(), "ab".repeat(32)).unwrap();
        let error = open(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("is not the one that this home was used with"), "{error}");
    }

    #[test]
    fn keys_are_rotated_while_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::at(folder.path());
        let key = |task| XComKey::new("d", "r", task, -1, "k").unwrap();
        let large = |n: &str| Value::of(&n.repeat(100_000)).unwrap();
        let ana = Caller::user("ana");
        let push = |engine: &Engine, task, n| {
            pollster::block_on(engine.push(&ana, &key(task), large(n).into())).unwrap();
        };
        let all = [(key("a"), large("1")), (key("b"), large("2")), (key("c"), large("3"))];
        let pulled = |engine: &Engine| {
            let keys = all.clone().map(|(key, _)| key);
            let answers = pollster::block_on(engine.pull(&ana, &keys, PullOptions::default())).unwrap();
            answers.into_iter().zip(&all).all(|(answer, (_, value))| answer.value().unwrap() == *value)
        };
        let before = open(&settings).unwrap();
        push(&before, "a", "1");
        let first = before.keys().current_id();
        let fingerprint = rotate_keys(&settings).unwrap();
        let after = open(&settings).unwrap();
        assert_eq!(*after.keys().current_id(), *fingerprint);
        push(&after, "b", "2");
        push(&before, "c", "3");
        assert!(pulled(&after) && pulled(&before));
        assert_eq!(*before.keys().current_id(), *fingerprint, "it found the new one");

        // A process with the new key alone is not ready: it could not read what is there.
        let path = Home::of(&settings).seal_key();
        let both = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, both.lines().next().unwrap()).unwrap();
        let error = open(&settings).unwrap_err();
        assert!(error.to_string().contains(&format!("knows {first}")), "{error}");
        std::fs::write(&path, both.lines().nth(1).unwrap()).unwrap();
        let error = open(&settings).unwrap_err();
        assert!(error.to_string().contains(&format!("knows {fingerprint}")), "{error}");
        std::fs::write(&path, both).unwrap();
        assert!(pulled(&open(&settings).unwrap()));
    }

    #[test]
    fn values_are_encrypted_when_the_settings_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::at(folder.path()).with("seal.encrypt", "true").unwrap();
        let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
        let value = Value::of(&"a plain secret ".repeat(10_000)).unwrap();
        let engine = open(&settings.with("xcom.compress_from", "1GiB").unwrap()).unwrap();
        let ana = Caller::user("ana");
        let version =
            pollster::block_on(engine.push(&ana, &key, value.clone().into())).unwrap().version.to_string();
        let stored = std::fs::read(folder.path().join("values/d/r/t/-1/k").join(version)).unwrap();
        assert!(
            stored.len() as u64 > value.size() && !stored.windows(12).any(|piece| piece == b"plain secret")
        );
        // What is encrypted is read whatever the settings say now.
        let engine = open(&Settings::at(folder.path())).unwrap();
        let answers = pollster::block_on(engine.pull(&ana, &[key], PullOptions::default())).unwrap();
        assert_eq!(answers[0].found().unwrap().value, value);
    }
}
