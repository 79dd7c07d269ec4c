//! The log of a try: a file that is made when there is something to write.

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

/// The log of one try.
pub(super) struct TryLog {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    first: String,
    state: Mutex<State>,
}

enum State {
    /// Nothing was written.
    Unused,
    Open(File),
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
        Self { path, clock, first, state: Mutex::new(State::Unused) }
    }

    /// Writes a line; several lines keep together.
    pub(super) fn line(&self, line: &str) {
        let text = stamped(self.clock.now(), line);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match &mut *state {
            State::Broken(_) => return,
            State::Open(file) => file.write_all(text.as_bytes()),
            State::Unused => self.create().and_then(|mut file| {
                file.write_all((self.first.clone() + &text).as_bytes())?;
                *state = State::Open(file);
                Ok(())
            }),
        };
        if let Err(error) = written {
            *state = State::Broken(format!("the log {} cannot be written: {error}", self.path.display()));
        }
    }

    /// Writes the last line, if anything was written before.
    pub(super) fn end(&self, line: &str) {
        let used = matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Open(_));
        if used {
            self.line(line);
        }
    }

    /// Where it is, if it is there.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Open(_)).then(|| self.path.clone())
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
}
