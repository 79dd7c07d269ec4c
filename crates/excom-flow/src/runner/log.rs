//! The log of a try: a file that is made when there is something to write, and that a task which prints
//! without end does not fill the disk with.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use excom_core::value::ContentHash;
use excom_core::{Clock, TaskInstanceKey};
use jiff::Timestamp;

/// The longest name of a folder, in bytes; file systems allow 255.
const LONGEST_NAME: usize = 200;

/// The most that a task writes into the log of a try, in bytes.
const LIMIT: u64 = 64 << 20;

/// The log of one try.
pub(super) struct TryLog {
    path: PathBuf,
    limit: u64,
    clock: Arc<dyn Clock>,
    first: String,
    state: Mutex<State>,
}

enum State {
    /// Nothing was written.
    Unused,
    Open {
        file: File,
        written: u64,
        /// A line did not fit any more, and what the task writes is no longer kept.
        cut: bool,
    },
    /// It cannot be written, and why.
    Broken(String),
}

impl TryLog {
    /// A log under a folder. The first line is written when there is a second.
    pub(super) fn new(
        folder: &Path,
        ti: &TaskInstanceKey,
        attempt: u32,
        clock: Arc<dyn Clock>,
        first: &str,
    ) -> Self {
        let mut path = folder.to_owned();
        path.push(part("dag_id", &ti.dag_id));
        path.push(part("run_id", &ti.run_id));
        path.push(part("task_id", &ti.task_id));
        if ti.is_mapped() {
            path.push(format!("map_index={}", ti.map_index));
        }
        path.push(format!("attempt={attempt}.log"));
        let first = stamped(clock.now(), first);
        Self { path, limit: LIMIT, clock, first, state: Mutex::new(State::Unused) }
    }

    /// Writes a line of the task; several lines keep together. When they are too many, one says so, and
    /// further ones are dropped.
    pub(super) fn line(&self, line: &str) {
        self.write(line, Some(self.limit));
    }

    /// Writes a line of the runner, which is kept also when the task wrote too much.
    pub(super) fn note(&self, line: &str) {
        self.write(line, None);
    }

    fn write(&self, line: &str, limit: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Unused) {
            *state = match self.create() {
                Ok(file) => State::Open { file, written: 0, cut: false },
                Err(error) => State::Broken(self.broken(&error)),
            };
        }
        let State::Open { file, written, cut } = &mut *state else { return };
        if limit.is_some() && *cut {
            return;
        }
        let now = self.clock.now();
        let mut text = stamped(now, line);
        if let Some(limit) = limit.filter(|limit| *written + text.len() as u64 > *limit) {
            *cut = true;
            text = stamped(now, &format!("the log is cut here: the task wrote over {limit} bytes"));
        }
        if *written == 0 {
            text.insert_str(0, &self.first);
        }
        *written += text.len() as u64;
        if let Err(error) = file.write_all(text.as_bytes()) {
            *state = State::Broken(self.broken(&error));
        }
    }

    fn broken(&self, error: &io::Error) -> String {
        format!("the log {} cannot be written: {error}", self.path.display())
    }

    /// Writes the last line, if anything was written before.
    pub(super) fn end(&self, line: &str) {
        let used = matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Open { .. });
        if used {
            self.note(line);
        }
    }

    /// Where it is, if it is there.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Open { .. }).then(|| self.path.clone())
    }

    /// Why it could not be written.
    pub(super) fn problem(&self) -> Option<String> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Broken(problem) => Some(problem.clone()),
            _ => None,
        }
    }

    fn create(&self) -> io::Result<File> {
        // Output may hold secrets, so nobody else may read it.
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)
    }
}

fn stamped(at: Timestamp, lines: &str) -> String {
    let mut text = String::with_capacity(lines.len() + 32);
    for line in lines.split('\n') {
        text.push_str(&format!("{at:.3} {line}\n"));
    }
    text
}

/// `name=value` as a folder's name: letters, digits, `_`, `-` and inner `.` stay, every other byte is
/// `%XX`. A long one ends in `~` and a checksum of the whole instead.
fn part(name: &str, value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => escaped.push(byte as char),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    if escaped.len() > LONGEST_NAME {
        escaped.truncate(LONGEST_NAME - 40);
        escaped.push_str(&format!("~{:016x}", ContentHash::of(value.as_bytes()).0));
    }
    format!("{name}={escaped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_differ() {
        assert_eq!(part("run_id", "manual__2026-11-21T10:00:00"), "run_id=manual__2026-11-21T10%3A00%3A00");
        assert_eq!(part("task_id", "../a/b"), "task_id=..%2Fa%2Fb");
        let (a, b) = ("é".repeat(120) + "a", "é".repeat(120) + "b");
        assert_ne!(part("dag_id", &a), part("dag_id", &b));
        assert!(part("dag_id", &a).len() < 255);
    }

    #[test]
    fn a_flood_is_cut_once_and_the_end_is_still_told() {
        let folder = tempfile::tempdir().unwrap();
        let ti = TaskInstanceKey::new("d", "r", "t", -1).unwrap();
        let clock = Arc::new(excom_core::memory::Clock::new());
        let mut log = TryLog::new(folder.path(), &ti, 1, clock, "first");
        log.limit = 500;
        for _ in 0..1000 {
            log.line("flood");
        }
        log.line("");
        log.note("why it failed");
        log.end("last");
        let text = std::fs::read_to_string(log.path().unwrap()).unwrap();
        assert!(text.len() < 800, "{text}");
        assert_eq!(text.matches("the log is cut here: the task wrote over 500 bytes").count(), 1);
        assert!(text.lines().nth_back(1).unwrap().ends_with(" why it failed"));
        assert!(text.ends_with(" last\n"));
    }
}
