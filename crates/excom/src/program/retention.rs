//! Old logs go at the end of a run.
//!
//! That is cheap where there is nothing to do: it looks at most once an hour, at one folder for each run, and
//! further into those only that look old.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long nothing is looked at after a look.
const PAUSE: Duration = Duration::from_secs(3600);

/// The file whose time tells when somebody looked last.
const LOOKED: &str = ".looked";

/// Removes the logs of runs whose last line is older than `age`.
///
/// # Errors
/// The first folder that could not be read or removed; the others are gone all the same.
pub(super) fn remove_old_logs(logs: &Path, age: Duration) -> io::Result<()> {
    let now = SystemTime::now();
    let looked = logs.join(LOOKED);
    if !logs.is_dir() || modified(&looked).is_ok_and(|at| now.duration_since(at).is_ok_and(|ago| ago < PAUSE))
    {
        return Ok(());
    }
    File::create(&looked)?.set_modified(now)?;
    let Some(oldest) = now.checked_sub(age) else { return Ok(()) };
    let mut failure = Ok(());
    for dag in folders(logs)? {
        for run in folders(&dag)? {
            if let Err(error) = remove_if_old(&run, oldest)
                // Another program does the same.
                && error.kind() != io::ErrorKind::NotFound
                && failure.is_ok()
            {
                failure = Err(error);
            }
        }
        // Fails while runs are in it, as it should.
        drop(fs::remove_dir(&dag));
    }
    failure
}

fn remove_if_old(run: &Path, oldest: SystemTime) -> io::Result<()> {
    if modified(run)? < oldest && newest(run)? < oldest { fs::remove_dir_all(run) } else { Ok(()) }
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// The folders that a runner made in a folder: `name=value`.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().to_string_lossy().contains('=') {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// When something was last written in a folder.
fn newest(folder: &Path) -> io::Result<SystemTime> {
    let mut newest = modified(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let at = if entry.file_type()?.is_dir() {
            self::newest(&entry.path())?
        } else {
            entry.metadata()?.modified()?
        };
        newest = newest.max(at);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of a run, and the folders around it, as old as told.
    fn log(logs: &Path, run: &str, days: u64, line_days: u64) -> PathBuf {
        let run = logs.join("dag_id=d").join(run);
        let task = run.join("task_id=t");
        fs::create_dir_all(&task).unwrap();
        fs::write(task.join("attempt=1.log"), "line\n").unwrap();
        let day = Duration::from_secs(86_400);
        let set = |path: &Path, days: u64| {
            let at = SystemTime::now() - day * u32::try_from(days).unwrap();
            File::open(path).unwrap().set_modified(at).unwrap();
        };
        set(&task.join("attempt=1.log"), line_days);
        set(&task, days);
        set(&run, days);
        run
    }

    #[test]
    fn only_what_is_old_goes_and_not_at_every_look() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path();
        let month = Duration::from_secs(30 * 86_400);
        let old = log(logs, "run_id=old", 31, 31);
        let new = log(logs, "run_id=new", 29, 29);
        let still_written = log(logs, "run_id=long", 31, 1);
        fs::create_dir(logs.join("mine")).unwrap();
        remove_old_logs(logs, month).unwrap();
        assert!(!old.exists() && new.exists() && still_written.exists() && logs.join("mine").exists());
        let old = log(logs, "run_id=old", 31, 31);
        remove_old_logs(logs, month).unwrap();
        assert!(old.exists(), "it looked a moment ago");
        fs::remove_file(logs.join(LOOKED)).unwrap();
        remove_old_logs(logs, month).unwrap();
        assert!(!old.exists());
    }

    #[test]
    fn no_logs_are_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        remove_old_logs(&folder.path().join("logs"), Duration::ZERO).unwrap();
        assert!(!folder.path().join("logs").exists());
    }
}
