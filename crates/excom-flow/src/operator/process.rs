//! A shell command in a process group of its own, its output read line by line with bounded memory.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::instance::TaskInstance;

/// The longest last line that is kept exactly, in bytes.
const LONGEST_LAST_LINE: usize = 1 << 20;

/// The longest line in the log and in errors, in bytes; longer ones are cut there.
const LONGEST_SHOWN_LINE: usize = 16 << 10;

/// How many of the last lines an error shows, and how long each at most.
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES: usize = 1 << 10;

/// How long output is still read when the command itself has ended, in case a child keeps the pipe open.
const READ_GRACE: Duration = Duration::from_millis(250);

/// How long output is read at most behind the end of the command, while children go on writing.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How long a cancelled command may take to end before it is killed.
pub(crate) const TERM_GRACE: Duration = Duration::from_secs(5);

/// What is run.
pub(super) struct Command {
    pub(super) command: String,
    pub(super) env: Vec<(String, String)>,
    pub(super) directory: Option<String>,
}

/// How it ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// The last line, without white space at its end.
    pub(super) last_line: Result<String>,
    /// The last lines, each bounded.
    pub(super) tail: Vec<String>,
}

/// Runs a command to its end, or until the run is cancelled.
pub(super) async fn run(command: Command, ti: &TaskInstance) -> Result<Ended> {
    let (mut child, mut output) = spawn(&command).map_err(|e| {
        let place = command.directory.map_or(String::new(), |directory| format!(" in `{directory}`"));
        Error::new(ErrorKind::Other, format!("bash cannot be started{place}")).because(e)
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // A try that is dropped (its runtime ends, the host loses patience) leaves nothing behind.
    let mut guard = Guard(group);
    let mut lines = Lines::new(ti);
    let mut buffer = vec![0; 16 << 10];
    let mut open = true;
    let status = loop {
        tokio::select! {
            // Output comes last, because a command that prints without end is always ready with more.
            biased;
            () = ti.cancelled() => {
                terminate(&mut child, group).await;
                guard.0 = None;
                return Err(Error::new(ErrorKind::Other, "the run was cancelled, and the command was ended"));
            }
            status = child.wait() => break status,
            read = output.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(length) => lines.feed(&buffer[..length]),
            },
        }
    };
    guard.0 = None;
    if open {
        drain(&mut output, &mut buffer, &mut lines).await;
    }
    let status: ExitStatus = status
        .map_err(|e| Error::new(ErrorKind::Other, "the end of the command cannot be seen").because(e))?;
    let (last_line, tail) = lines.finish();
    Ok(Ended { code: status.code(), signal: status.signal(), last_line, tail })
}

fn spawn(command: &Command) -> io::Result<(tokio::process::Child, pipe::Receiver)> {
    // One pipe for both, so that the lines are in the order in which they were written.
    let (reader, writer) = io::pipe()?;
    let mut bash = tokio::process::Command::new("bash");
    bash.arg("-c").arg(&command.command);
    bash.envs(command.env.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = &command.directory {
        bash.current_dir(directory);
    }
    bash.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let child = bash.spawn()?;
    // The command holds the pipe's writing end; the end of output shows only when it is closed here.
    drop(bash);
    Ok((child, pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?))
}

/// Reads what is left, without waiting for children that keep the pipe open.
async fn drain(output: &mut pipe::Receiver, buffer: &mut [u8], lines: &mut Lines<'_>) {
    // Each read has the grace anew, so that a slow log does not cut what the command wrote; a child that
    // goes on writing has an end too.
    let end = tokio::time::Instant::now() + DRAIN_LIMIT;
    while tokio::time::Instant::now() < end {
        match tokio::time::timeout(READ_GRACE, output.read(buffer)).await {
            Ok(Ok(length @ 1..)) => lines.feed(&buffer[..length]),
            _ => break,
        }
    }
}

async fn terminate(child: &mut tokio::process::Child, group: Option<Pid>) {
    signal(group, Signal::TERM);
    if tokio::time::timeout(TERM_GRACE, child.wait()).await.is_err() {
        signal(group, Signal::KILL);
        drop(child.wait().await);
    } else {
        // Children may have ignored what ended bash.
        signal(group, Signal::KILL);
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // It may have ended in between, which is fine.
        let _ = kill_process_group(group, signal);
    }
}

/// Kills the process group when it is dropped, unless the command has ended.
struct Guard(Option<Pid>);

impl Drop for Guard {
    fn drop(&mut self) {
        signal(self.0, Signal::KILL);
    }
}

/// Splits output into lines.
struct Lines<'a> {
    ti: &'a TaskInstance,
    /// The line that is being read, as far as it may be the last one.
    line: Vec<u8>,
    /// The line that is being read went on behind what is kept of it.
    overlong: bool,
    /// Whether a line is being read.
    begun: bool,
    last: Result<String, ()>,
    tail: VecDeque<String>,
}

impl<'a> Lines<'a> {
    fn new(ti: &'a TaskInstance) -> Self {
        let (line, last, tail) = (Vec::new(), Ok(String::new()), VecDeque::new());
        Self { ti, line, overlong: false, begun: false, last, tail }
    }

    fn feed(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let end = piece.iter().position(|byte| *byte == b'\n');
            let part = &piece[..end.unwrap_or(piece.len())];
            self.begun = true;
            let room = LONGEST_LAST_LINE - self.line.len();
            self.overlong |= part.len() > room;
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if let Some(end) = end {
                self.end_line();
                piece = &piece[end + 1..];
            } else {
                return;
            }
        }
    }

    fn end_line(&mut self) {
        let text = text(&self.line);
        let text = text.trim_end();
        self.ti.log(&shown(text, LONGEST_SHOWN_LINE));
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(shown(text, TAIL_LINE_BYTES));
        self.last = if self.overlong { Err(()) } else { Ok(text.to_owned()) };
        self.line.clear();
        (self.overlong, self.begun) = (false, false);
    }

    fn finish(mut self) -> (Result<String>, Vec<String>) {
        if self.begun {
            self.end_line();
        }
        let last = self.last.map_err(|()| {
            Error::new(ErrorKind::TooLarge, "the last line of the output is over 1 MiB, so it is not pushed")
                .hint("print a short last line and push the data with `excom xcom push`")
                .hint("or set do_xcom_push to false")
        });
        (last, self.tail.into())
    }
}

/// Output as text: bytes that are not UTF-8 as `\xff`.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A line cut for people.
fn shown(line: &str, most: usize) -> String {
    if line.len() <= most {
        return line.to_owned();
    }
    format!("{}… ({} bytes)", &line[..line.floor_char_boundary(most)], line.len())
}
