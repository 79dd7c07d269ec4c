//! One driver for each run: whoever runs, resumes or reruns it holds a lock on a file of its own.
//!
//! The kernel lets go of the lock when the process ends, however it ends, so nothing is to be tidied up before
//! a run that was killed can go on. The file is removed by whoever held the lock, and taken over when that was
//! killed.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use excom_core::value::ContentHash;
use excom_core::{Error, ErrorKind, Result};

use crate::embedded::{Home, kind_of};

/// How many characters of a run's id are in the name of its file, for people; the checksum tells runs apart.
const SHOWN: usize = 80;

/// The right to drive a run, until it is dropped.
#[derive(Debug)]
pub(super) struct RunLock {
    path: PathBuf,
    /// Holds the lock as long as it is open.
    _file: File,
}

/// Whether the lock was free.
#[derive(Debug)]
pub(super) enum Taken {
    Lock(RunLock),
    /// A process that lives holds it: its number, if it is known.
    Held(Option<u32>),
}

impl RunLock {
    /// Takes the lock of a run.
    ///
    /// # Errors
    /// When another process has it, or the home cannot be written.
    pub(super) fn take(home: &Home, dag_id: &str, run_id: &str) -> Result<Self> {
        match Self::try_take(home, dag_id, run_id)? {
            Taken::Lock(lock) => Ok(lock),
            Taken::Held(process) => {
                let who = process.map_or_else(String::new, |process| format!(", process {process}"));
                let what = format!("run `{run_id}` of DAG `{dag_id}` is being run by another program{who}");
                Err(Error::new(ErrorKind::Unavailable, what)
                    .hint("wait until it ends, or stop it there with Ctrl-C and then go on with it")
                    .hint("runs with other ids are free: a new one needs no --run-id"))
            }
        }
    }

    /// Takes the lock of a run if it is free.
    ///
    /// # Errors
    /// When the home cannot be written.
    pub(super) fn try_take(home: &Home, dag_id: &str, run_id: &str) -> Result<Taken> {
        let path = home.runs().join(name(dag_id, run_id));
        let failed = |cause: io::Error| {
            let what = format!("cannot lock run `{run_id}` of DAG `{dag_id}` with {}", path.display());
            Error::new(kind_of(&cause), what)
                .because(cause)
                .hint("a program that runs a DAG needs a home that it can write, on a file system with locks")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(home.runs()).map_err(failed)?;
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let mut file = file.map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = std::fs::read_to_string(&path).ok();
                    return Ok(Taken::Held(holder.and_then(|number| number.trim().parse().ok())));
                }
                Err(TryLockError::Error(cause)) => return Err(failed(cause)),
            }
            // Whoever had it removed the file after it was opened here: that lock keeps nobody out.
            if !is_at(&file, &path) {
                continue;
            }
            file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
            return Ok(Taken::Lock(Self { path, _file: file }));
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Before the lock is let go. A file that stays does no harm: the next one takes it over.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Whether a file is the one that a path leads to.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

fn name(dag_id: &str, run_id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '.' };
    let shown: String = run_id.chars().map(safe).take(SHOWN).collect();
    let hash = ContentHash::of(format!("{dag_id}\0{run_id}").as_bytes());
    format!("{shown}-{:016x}.lock", hash.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_run_has_one_driver_and_runs_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of(&Settings::at(folder.path()));
        let lock = RunLock::take(&home, "d", "r/1").unwrap();
        let error = RunLock::take(&home, "d", "r/1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().ends_with(&format!("process {}", std::process::id())), "{error}");
        let others = [RunLock::take(&home, "d", "r.1").unwrap(), RunLock::take(&home, "e", "r/1").unwrap()];
        drop(others);
        drop(lock);
        assert_eq!(std::fs::read_dir(home.runs()).unwrap().count(), 0, "nothing is left");
        drop(RunLock::take(&home, "d", "r/1").unwrap());
    }

    #[test]
    fn what_a_killed_process_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of(&Settings::at(folder.path()));
        std::fs::create_dir(home.runs()).unwrap();
        std::fs::write(home.runs().join(name("d", "r")), "1\n and more than before").unwrap();
        let _lock = RunLock::take(&home, "d", "r").unwrap();
        assert!(matches!(
            RunLock::try_take(&home, "d", "r").unwrap(),
            Taken::Held(Some(process)) if process == std::process::id()
        ));
    }
}
