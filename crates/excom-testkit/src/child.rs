//! Children of a proof: started, listened to with a bound, and ended by their own id.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::Result;

/// How long a child may be silent before the proof gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The signal that no process can catch.
const SIGKILL: i32 = 9;

/// A running child whose lines are read as they come. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or("a child without output")?;
        let (sender, lines) = channel();
        // It ends with the child's output.
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = String::new();
            // A line without its end was cut by the kill, so it says nothing.
            while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
                if sender.send(line.trim_end().to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(Self { process, input, lines })
    }

    /// The next line, at most so long from now; none when the time is over or the child ended.
    pub fn line_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// The next line; none when the child ended.
    ///
    /// # Errors
    /// When the child says nothing for [`PATIENCE`].
    pub fn line(&self) -> Result<Option<String>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err("a child hangs".into()),
        }
    }

    /// Writes a line to the child.
    ///
    /// # Errors
    /// When it ended.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or("a child without input")?;
        Ok(input.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Kills it, and returns what it had written that was not read yet.
    ///
    /// # Errors
    /// When it had ended by itself, which it should not have.
    pub fn kill(mut self) -> Result<Vec<String>> {
        self.process.kill()?;
        let status = self.process.wait()?;
        let rest: Vec<String> = self.lines.iter().collect();
        if status.signal() == Some(SIGKILL) {
            return Ok(rest);
        }
        let told = rest.last().map_or("", String::as_str);
        Err(format!("a child ended by itself with {status}: {told}").into())
    }

    /// Waits for its end, which must come within [`PATIENCE`].
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait(mut self) -> Result<(ExitStatus, Vec<String>)> {
        drop(self.input.take());
        let deadline = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        // Its output ends when it does.
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err("a child does not end".into()),
            }
        }
        Ok((self.process.wait()?, rest))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, as it should have been.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Writes a line to whoever started this process, in one write, so that a kill cannot split it.
///
/// # Errors
/// When nobody reads any more.
pub fn tell(line: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(format!("{line}\n").as_bytes())
}
