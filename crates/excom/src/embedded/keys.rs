//! The secret keys: those of a home's key file, made once and never silently replaced, or those that settings
//! name. A database remembers which keys it was used with, and is met with all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use excom_core::db::RETIRED_KEYS;
use excom_core::engine::Retiring;
use excom_core::seal::{Ring, SealKeys, adopted, fingerprint};
use excom_core::{Clock, Engine, Error, ErrorKind, MetadataDb, Result};

use super::{Home, SEAL_KEY_MARK, SystemClock, kind_of, remember};
use crate::config::{KeyPlace, KeySource, Secret, Settings};

/// What the names of marks begin with under which a database remembers keys that came later than its first.
const LATER_KEYS: &str = "seal_key/";

/// How soon keys are looked for again after a look found no new one: a value that names one may be forged.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

type Bytes = [u8; 32];

/// The keys for a database. One that was never used gets a new key file; any other must be met with all keys that
/// it was used with. A current key that is new to it is remembered.
///
/// # Errors
/// `Configuration` when a key is missing or malformed.
pub(super) fn load(db: &dyn MetadataDb, settings: &Settings, read_only: bool) -> Result<SealKeys> {
    let source = Source::of(settings);
    let (known, retired) = (known(db)?, retired(db)?);
    if let Source::File(path) = &source
        && !read_only
        && known.is_empty()
        && read(path)?.is_none()
    {
        create(path)?;
    }
    let needed: Vec<&str> = known.iter().map(String::as_str).filter(|id| !retired.contains(*id)).collect();
    let ring = source.ring(needed.first().copied())?;
    let missing: Vec<&str> =
        needed.iter().copied().filter(|known| !ring.ids().any(|id| **id == **known)).collect();
    if !missing.is_empty() {
        return Err(not_met(&source, settings, &ring, &missing.join(", ")));
    }
    let named = source.told(settings);
    let seen: Vec<Arc<str>> = ring.ids().cloned().collect();
    let looked = Mutex::new((seen, None::<Instant>));
    let keys = SealKeys::from_source(ring, move || {
        let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, in_vain) = &mut *looked;
        if in_vain.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return Err(Error::new(ErrorKind::Unavailable, "the keys were looked for just now"));
        }
        let ring = source.ring(None)?;
        let found: Vec<Arc<str>> = ring.ids().cloned().collect();
        // A file is read at once, so only what may take long waits.
        *in_vain = (found == *seen && matches!(source, Source::Settings(..))).then(Instant::now);
        *seen = found;
        Ok(ring)
    });
    let current = keys.current_id();
    if retired.contains(&*current) {
        return Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "the key {current}, the first of {named}, is retired: nothing may be sealed with it any more"
            ),
        )
        .hint("put the key that came after it in front, or back from a backup"));
    }
    if !known.iter().any(|known| **known == *current) {
        let name = if known.is_empty() { SEAL_KEY_MARK.to_owned() } else { format!("{LATER_KEYS}{current}") };
        if *remember(db, &name, &current, read_only)? != *current {
            // Another process was faster, with another key.
            return load(db, settings, read_only);
        }
    }
    Ok(keys)
}

/// The fingerprints of all keys that a database was used with, its first key's first.
fn known(db: &dyn MetadataDb) -> Result<Vec<String>> {
    pollster::block_on(async {
        let first = db.mark(SEAL_KEY_MARK).await?;
        let later = db.marks(LATER_KEYS).await?;
        Ok(first.into_iter().chain(later.into_iter().map(|(_, fingerprint)| fingerprint)).collect())
    })
}

/// The ids of keys that nothing is sealed with any more.
fn retired(db: &dyn MetadataDb) -> Result<BTreeSet<String>> {
    let marks = pollster::block_on(db.marks(RETIRED_KEYS))?.into_iter();
    Ok(marks.map(|(name, _)| name.trim_start_matches(RETIRED_KEYS).to_owned()).collect())
}

/// Where the keys come from.
#[derive(Debug)]
enum Source {
    /// The key file of a home: one secret a line, the current one first.
    File(PathBuf),
    /// What `[seal] keys` names, with what the environment says.
    Settings(Vec<KeySource>, Secret<BTreeMap<String, String>>),
}

impl Source {
    fn of(settings: &Settings) -> Self {
        match settings.seal.keys.as_slice() {
            [] => Self::File(Home::of(settings).seal_key()),
            sources => Self::Settings(sources.to_vec(), settings.environment.clone()),
        }
    }

    fn told(&self, settings: &Settings) -> String {
        match self {
            Self::File(path) => format!("the seal key {}", path.display()),
            Self::Settings(..) => format!("the key of [seal] keys (from {})", settings.seal.keys.origin()),
        }
    }

    /// The keys; a missing file is told with the fingerprint that is known of it.
    fn ring(&self, known: Option<&str>) -> Result<Ring> {
        let secrets = match self {
            Self::File(path) => read(path)?.ok_or_else(|| missing(path, known))?,
            Self::Settings(sources, environment) => {
                let mut secrets = Vec::new();
                for source in sources {
                    secrets.extend(fetch(source, &environment.0)?);
                }
                secrets
            }
        };
        // The fingerprint as id: two keys never share one.
        let mut secrets = secrets.iter().map(|secret| (fingerprint(secret), *secret));
        let none = || Error::new(ErrorKind::Configuration, "[seal] keys names no key");
        let (id, secret) = secrets.next().ok_or_else(none)?;
        Ok(secrets.fold(Ring::new(id, secret), |ring, (id, secret)| ring.with_old(id, secret)))
    }
}

fn not_met(source: &Source, settings: &Settings, ring: &Ring, missing: &str) -> Error {
    let loaded: Vec<&str> = ring.ids().map(|id| &**id).collect();
    let place = source.told(settings);
    let what = format!(
        "{place} is not the one that this home was used with: its fingerprint is {}, the database {} knows \
         {missing}",
        loaded.join(", "),
        super::database::name(settings)
    );
    let error = Error::new(ErrorKind::Configuration, what);
    match source {
        Source::File(path) => error
            .hint(format!(
                "put back the key with the fingerprint {missing}, from a backup of {}",
                path.display()
            ))
            .hint("or begin anew in another folder with --home or EXCOM_HOME"),
        Source::Settings(..) => error
            .hint(format!("add the key with the fingerprint {missing} to [seal] keys, behind the new one")),
    }
}

/// The secrets of a source, which may have several.
fn fetch(source: &KeySource, environment: &BTreeMap<String, String>) -> Result<Vec<Bytes>> {
    let wrong = |what: String| Error::new(ErrorKind::Configuration, what);
    let (place, text) = match &source.place {
        KeyPlace::File(path) => {
            let text = fs::read_to_string(path).map_err(|cause| {
                wrong(format!("the key file {} cannot be read", path.display()))
                    .because(cause)
                    .hint("check that it is there and that its owner and mode let this user read")
            })?;
            (path.display().to_string(), text)
        }
        KeyPlace::Environment(name) => {
            let text = environment.get(name).cloned();
            (name.clone(), text.ok_or_else(|| wrong(format!("{name}, which [seal] keys names, is not set")))?)
        }
        KeyPlace::Command(words) => (words.join(" "), printed(words)?),
    };
    let parse = if source.fernet { parse_fernet } else { parse };
    let texts = text.split(['\n', ',']).map(str::trim).filter(|text| !text.is_empty());
    let secrets: Option<Vec<Bytes>> = texts.map(parse).collect();
    secrets.filter(|secrets| !secrets.is_empty()).ok_or_else(|| {
        let form = if source.fernet {
            "43 letters and digits and `=`, as Airflow makes them"
        } else {
            "64 hex digits"
        };
        // Never what it holds.
        wrong(format!("the key in {place} is malformed"))
            .hint(format!("a key is {form}; of several, one a line, the newest is the first"))
    })
}

/// What a program prints.
fn printed(words: &[String]) -> Result<String> {
    let line = words.join(" ");
    let failed = |why: String| {
        let what = format!("`{line}`, which [seal] keys names, gives no key: {why}");
        Error::new(ErrorKind::Configuration, what)
            .hint("run it by hand; it must print the key and nothing else")
    };
    let [program, arguments @ ..] = words else { return Err(failed("it names no program".into())) };
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let ran = ran.map_err(|cause| failed(cause.to_string()))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        return Err(failed(format!("{} {}", ran.status, said.lines().next().unwrap_or_default())));
    }
    String::from_utf8(ran.stdout).map_err(|_| failed("what it prints is no text".into()))
}

fn missing(path: &Path, fingerprint: Option<&str>) -> Error {
    let which = fingerprint.map_or(String::new(), |known| format!(" with the fingerprint {known}"));
    let what = format!("the seal key {} is missing; this home was used with one{which}", path.display());
    Error::new(ErrorKind::Configuration, what)
        .hint(format!(
            "put {} back from a backup: values that are files cannot be trusted without it",
            path.display()
        ))
        .hint("or begin anew in another folder with --home or EXCOM_HOME")
}

/// The secrets in a home's key file; none when there is no file.
fn read(path: &Path) -> Result<Option<Vec<Bytes>>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => {
            let what = format!("the seal key {} cannot be read", path.display());
            return Err(Error::new(ErrorKind::Configuration, what)
                .hint("check that it is a file and that its owner and mode let this user read")
                .because(cause));
        }
    };
    let secrets: Option<Vec<Bytes>> = text.lines().map(|line| parse(line.trim_end())).collect();
    let secrets = secrets.filter(|secrets| !secrets.is_empty()).ok_or_else(|| {
        let what = format!("the seal key {} is malformed", path.display());
        Error::new(ErrorKind::Configuration, what)
            .hint("it has 64 hex digits in each line; put it back from a backup")
    })?;
    Ok(Some(secrets))
}

fn parse(text: &str) -> Option<Bytes> {
    let mut secret = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in secret.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(secret)
}

/// A key in Airflow's form: 32 bytes in base64 for URLs. It is not used itself, so that it stays Airflow's.
fn parse_fernet(text: &str) -> Option<Bytes> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE.decode(text).ok()?;
    (bytes.len() == 32).then(|| adopted(&bytes))
}

fn random() -> Result<Bytes> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|cause| {
        Error::new(ErrorKind::Other, "the operating system gave no random numbers for a seal key")
            .because(cause.to_string())
    })?;
    Ok(secret)
}

/// Makes a key file, or finds the one that another process made at the same time: the file appears
/// under its name whole, and only once.
fn create(path: &Path) -> Result<Vec<Bytes>> {
    let draft = draft(path);
    let made = write_durably(&draft, &[random()?]).and_then(|()| match fs::hard_link(&draft, path) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
        _ => Ok(()),
    });
    // It is of no more use either way; one that stays behind does no harm.
    drop(fs::remove_file(&draft));
    made.and_then(|()| sync_folder(path)).map_err(|cause| not_written(path, cause))?;
    read(path)?.ok_or_else(|| missing(path, None))
}

/// Makes a new key the current one of a home, and tells its fingerprint. What was sealed before stays readable;
/// running processes find the new key when they meet it first.
///
/// # Errors
/// `Configuration` when the keys come from settings, where the new one is to be put in front, or when there is no
/// key yet; `ReadOnly` and `Full` when the file cannot be written.
pub fn rotate_keys(settings: &Settings) -> Result<String> {
    match Source::of(settings) {
        Source::File(path) => rotate(&path),
        Source::Settings(..) => {
            let what = format!("the keys come from [seal] keys (from {})", settings.seal.keys.origin());
            Err(Error::new(ErrorKind::Configuration, what)
                .hint("put the new key's source in front there; the others stay, for what they sealed"))
        }
    }
}

/// Lets a key go that seals nothing any more: it is taken out of the home's key file. `false` when the keys come
/// from settings, where whoever wrote them may take its source out.
///
/// # Errors
/// `InvalidRequest` when there is no such key, or it is the current one, or something is still sealed with it, with
/// the number of values; `Unavailable` when pushes are under way that may do so. Then nothing more is sealed with it
/// from now on. `ReadOnly` and `Full` when the file
/// cannot be written.
pub async fn retire_key(engine: &Engine, settings: &Settings, id: &str) -> Result<bool> {
    let keys = engine.keys().ids();
    if !keys.iter().any(|known| **known == *id) {
        return Err(Error::new(ErrorKind::InvalidRequest, format!("there is no key `{id}`"))
            .hint(format!("there are: {}", keys.join(", "))));
    }
    let Retiring { sealed, secrets, under_way } = engine.retire_key(id).await?;
    if sealed > 0 {
        let what = format!("the key `{id}` still seals stored values: {sealed}, with earlier versions");
        return Err(Error::new(ErrorKind::InvalidRequest, what)
            .hint("`excom migrate-values --reseal` seals them with the current key; then retire it again"));
    }
    if secrets > 0 {
        let what = format!("the key `{id}` still encrypts secrets: {secrets}, with earlier versions");
        return Err(Error::new(ErrorKind::InvalidRequest, what).hint(
            "secrets keep their key: push them again, or wait until they are pruned; then retire it again",
        ));
    }
    if under_way > 0 {
        let what = format!("pushes that may be sealed with the key `{id}` are not over yet: {under_way}");
        return Err(Error::new(ErrorKind::Unavailable, what)
            .hint("retire it again later; what was interrupted is over after [xcom] abandoned_after"));
    }
    match Source::of(settings) {
        Source::File(path) => {
            rewrite(&path, |secrets| {
                secrets.retain(|secret| fingerprint(secret) != id);
                Ok(())
            })?;
            Ok(true)
        }
        Source::Settings(..) => Ok(false),
    }
}

/// Puts a new secret in front of those in a home's key file.
fn rotate(path: &Path) -> Result<String> {
    let secrets = rewrite(path, |secrets| {
        secrets.insert(0, random()?);
        Ok(())
    })?;
    Ok(fingerprint(&secrets[0]))
}

/// Changes the secrets in a home's key file, one process at a time.
fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<Bytes>) -> Result<()>) -> Result<Vec<Bytes>> {
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(false);
    let lock = how.open(path.with_extension("lock")).and_then(|file| file.lock().map(|()| file));
    // Of two at once, each would lose the other's key.
    let lock = lock.map_err(|cause| not_written(path, cause))?;
    let mut secrets = read(path)?.ok_or_else(|| missing(path, None))?;
    change(&mut secrets)?;
    let draft = draft(path);
    let written = write_durably(&draft, &secrets).and_then(|()| fs::rename(&draft, path));
    written.and_then(|()| sync_folder(path)).map_err(|cause| {
        drop(fs::remove_file(&draft));
        not_written(path, cause)
    })?;
    drop(lock);
    Ok(secrets)
}

fn draft(path: &Path) -> PathBuf {
    path.with_extension(format!("{:016x}", SystemClock.random()))
}

fn not_written(path: &Path, cause: io::Error) -> Error {
    Error::new(kind_of(&cause), format!("the seal key {} cannot be created", path.display()))
        .because(cause)
        .hint("check that this user may write there, and that the file system has hard links")
}

fn write_durably(path: &Path, secrets: &[Bytes]) -> io::Result<()> {
    let mut how = OpenOptions::new();
    how.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
    let mut file = how.open(path)?;
    for secret in secrets {
        let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(file, "{digits}")?;
    }
    file.sync_all()
}

/// Makes the name itself survive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racing_processes_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        let keys: Vec<Vec<Bytes>> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..16).map(|_| scope.spawn(|| create(&path).unwrap())).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(read(&path).unwrap().as_ref(), Some(&keys[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "drafts are gone");
    }

    #[test]
    fn only_64_hex_digits_are_a_key() {
        assert_eq!(parse(&"0f".repeat(32)), Some([15; 32]));
        for text in ["", "0f", &"0f".repeat(33), &"+f".repeat(32), &"é".repeat(32)] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_new_key_stands_before_the_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        let first = create(&path).unwrap();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(|| rotate(&path).unwrap())).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(Source::File(path.clone()).ring(None).unwrap().ids().count(), 9);
        let secrets = read(&path).unwrap().unwrap();
        assert_eq!(secrets[8], first[0]);
        assert!(ids.contains(&fingerprint(&secrets[0])));
    }

    #[test]
    fn keys_come_from_files_variables_programs_and_airflow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, format!("{}\n{}\n", "0a".repeat(32), "0b".repeat(32))).unwrap();
        let fernet = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let named: BTreeMap<_, _> =
            [("K".to_owned(), "0c".repeat(32)), ("F".to_owned(), format!("{fernet},{fernet}"))].into();
        let fetch = |text: &str| {
            let settings = Settings::default().with("seal.keys", text).unwrap();
            fetch(&settings.seal.keys[0], &named)
        };
        assert_eq!(fetch(&format!("file:{}", path.display())).unwrap(), [[10; 32], [11; 32]]);
        assert_eq!(fetch("env:K").unwrap(), [[12; 32]]);
        assert_eq!(fetch("fernet:env:F").unwrap().len(), 2);
        assert_ne!(fetch("fernet:env:F").unwrap()[0][..4], [0, 1, 2, 3], "adopted, not used itself");
        assert_eq!(fetch(&format!("command:head -n1 {}", path.display())).unwrap(), [[10; 32]]);
        for (text, told) in [
            ("env:NONE", "NONE, which [seal] keys names, is not set"),
            ("env:F", "the key in F is malformed"),
            ("fernet:env:K", "the key in K is malformed"),
            ("file:/nowhere/key", "the key file /nowhere/key cannot be read"),
            ("command:false", "`false`, which [seal] keys names, gives no key"),
            ("command:/nowhere/vault read", "gives no key"),
        ] {
            let error = fetch(text).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
            assert!(!format!("{error:?}").contains(fernet), "{error:?}");
        }
    }
}
