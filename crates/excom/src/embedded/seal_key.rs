//! The key file of a home: made once, agreed on by all processes, and never silently replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use excom_core::seal::SealKeys;
use excom_core::{Clock, Error, ErrorKind, MetadataDb, Result};

use super::{Home, SEAL_KEY_MARK, SystemClock, kind_of, remember};

/// The keys of a home. A database that was never used gets a new one; any other must be met with the
/// one it was used with.
///
/// # Errors
/// `Configuration` when the key is missing, malformed or another one.
pub(super) fn of_home(db: &dyn MetadataDb, home: &Home, read_only: bool) -> Result<SealKeys> {
    let path = home.seal_key();
    let known = pollster::block_on(db.mark(SEAL_KEY_MARK))?;
    let secret = match (read(&path)?, &known) {
        (Some(secret), _) => secret,
        (None, None) if !read_only => create(&path)?,
        (None, _) => return Err(missing(&path, known.as_deref())),
    };
    let fingerprint = SealKeys::new("", secret).fingerprint();
    let first = remember(db, SEAL_KEY_MARK, &fingerprint, read_only)?;
    if first != fingerprint {
        return Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "the seal key {} is not the one that this home was used with: its fingerprint is {fingerprint}, \
                 the database {} knows {first}",
                path.display(),
                home.database().display()
            ),
        )
        .hint(format!("put back the key with the fingerprint {first}, from a backup of {}", path.display()))
        .hint("or begin anew in another folder with --home or EXCOM_HOME"));
    }
    // The fingerprint as id: two keys never share one.
    Ok(SealKeys::new(fingerprint, secret))
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

/// The secret in a key file; none when there is no file.
fn read(path: &Path) -> Result<Option<[u8; 32]>> {
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
    let secret = parse(text.trim_end()).ok_or_else(|| {
        let what = format!("the seal key {} is malformed", path.display());
        Error::new(ErrorKind::Configuration, what)
            .hint("it has 64 hex digits in one line; put it back from a backup")
    })?;
    Ok(Some(secret))
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in secret.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(secret)
}

/// Makes a key file, or finds the one that another process made at the same time: the file appears
/// under its name whole, and only once.
fn create(path: &Path) -> Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|cause| {
        Error::new(ErrorKind::Other, "the operating system gave no random numbers for a seal key")
            .because(cause.to_string())
    })?;
    let draft = path.with_extension(format!("{:016x}", SystemClock.random()));
    let outcome = write_durably(&draft, &secret).and_then(|()| match fs::hard_link(&draft, path) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
        _ => Ok(()),
    });
    // It is of no more use either way; one that stays behind does no harm.
    drop(fs::remove_file(&draft));
    outcome.and_then(|()| sync_folder(path)).map_err(|cause| {
        Error::new(kind_of(&cause), format!("the seal key {} cannot be created", path.display()))
            .because(cause)
            .hint("check that this user may write there, and that the file system has hard links")
    })?;
    read(path)?.ok_or_else(|| missing(path, None))
}

fn write_durably(path: &Path, secret: &[u8; 32]) -> io::Result<()> {
    let mut how = OpenOptions::new();
    how.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
    let mut file = how.open(path)?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(file, "{digits}")?;
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
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..16).map(|_| scope.spawn(|| create(&path).unwrap())).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(read(&path).unwrap(), Some(keys[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "drafts are gone");
    }

    #[test]
    fn only_64_hex_digits_are_a_key() {
        assert_eq!(parse(&"0f".repeat(32)), Some([15; 32]));
        for text in ["", "0f", &"0f".repeat(33), &"+f".repeat(32), &"é".repeat(32)] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
