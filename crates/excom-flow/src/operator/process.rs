//! A process in a group of its own: started, its output read, ended as a whole.
//!
//! What a try starts ends with it. A process that its command leaves behind is ended too, unless it went
//! into a group of its own (`setsid`); so is everything when the run is cancelled, when the try is
//! dropped, and when this program is killed.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout};

use super::environment::LONGEST_TEXT;
use super::lines::Lines;
use super::watch::Watch;
use crate::error::invalid;
use crate::instance::TaskInstance;
use crate::outcome::Skip;

/// The exit code by which a command says that it chose not to run.
const SKIP_EXIT_CODE: i32 = 99;

/// How long output is still read when the command itself has ended, in case a child keeps the pipe open.
const READ_GRACE: Duration = Duration::from_millis(250);

/// How long output is read at most behind the end of the command, while children go on writing.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How long a cancelled command may take to end before it is killed.
pub(crate) const TERM_GRACE: Duration = Duration::from_secs(5);

/// How long a process that a command left behind may take to end before it is killed.
const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(1);

/// What is run.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) directory: Option<String>,
}

/// How it ended.
pub(super) struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
    /// The last line, without white space at its end.
    pub(super) last_line: Result<String>,
    /// The last lines, each bounded.
    tail: Vec<String>,
}

impl Ended {
    /// The end of a command that did what it should: exit code 0. Code 99 is a [`Skip`].
    pub(super) fn success(self) -> crate::Result<Self> {
        let how = match (self.code, self.signal) {
            (Some(0), _) => return Ok(self),
            (Some(SKIP_EXIT_CODE), _) => {
                return Err(Skip::because(format!("the command ended with code {SKIP_EXIT_CODE}")).into());
            }
            (Some(code), _) => format!("with code {code}"),
            (None, Some(signal)) => format!("by signal {signal}"),
            (None, None) => "without a code".to_owned(),
        };
        let output = match self.tail.as_slice() {
            [] => "; it printed nothing".to_owned(),
            tail => format!("; its output ends with:\n{}", tail.join("\n")),
        };
        Err(Error::new(ErrorKind::Other, format!("the command ended {how}{output}")).into())
    }
}

/// Runs a command to its end, or until the run is cancelled.
pub(super) async fn run(command: &Command, ti: &TaskInstance) -> Result<Ended> {
    check(command)?;
    let (mut child, mut output) = spawn(command).map_err(|e| not_started(command, e))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // A try that is dropped (its runtime ends, the host loses patience) leaves nothing behind.
    let mut guard = Guard(group);
    let _watch = group.map(Watch::over).transpose().map_err(|e| {
        Error::new(ErrorKind::Other, "the shell that watches over a command cannot be started").because(e)
    })?;
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
    if open {
        drain(&mut output, &mut buffer, &mut lines).await;
    }
    let left_behind = end_left_behind(group).await;
    guard.0 = None;
    let status: ExitStatus = status
        .map_err(|e| Error::new(ErrorKind::Other, "the end of the command cannot be seen").because(e))?;
    let (last_line, tail) = lines.finish();
    if left_behind {
        ti.log("the command left processes behind, which were ended (`setsid` starts one that stays)");
    }
    Ok(Ended { code: status.code(), signal: status.signal(), last_line, tail })
}

/// What no system takes, in words.
fn check(command: &Command) -> Result<()> {
    let arguments = command.arguments.iter().map(|text| ("an argument", text));
    let directory = command.directory.iter().map(|text| ("the directory", text));
    for (what, text) in
        [("the program's name", &command.program)].into_iter().chain(arguments).chain(directory)
    {
        if text.contains('\0') {
            return Err(invalid(format!("{what} has a NUL character, which no command can have")));
        }
        if text.len() >= LONGEST_TEXT {
            let message = format!("{what} has {} bytes, the system hands over at most 128 KiB", text.len());
            return Err(Error::new(ErrorKind::TooLarge, message).hint("pass the path of a file instead"));
        }
    }
    Ok(())
}

fn not_started(command: &Command, e: io::Error) -> Error {
    let place = command.directory.as_ref().map_or(String::new(), |directory| format!(" in `{directory}`"));
    let hint = match e.kind() {
        io::ErrorKind::NotFound => Some("is it installed, on the PATH, and does the directory exist?"),
        io::ErrorKind::PermissionDenied => Some("is it executable (`chmod +x`)?"),
        io::ErrorKind::ArgumentListTooLong => Some("hand large values over in files, not in variables"),
        _ => None,
    };
    let error =
        Error::new(ErrorKind::Other, format!("`{}` cannot be started{place}", command.program)).because(e);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn spawn(command: &Command) -> io::Result<(tokio::process::Child, pipe::Receiver)> {
    // One pipe for both, so that the lines are in the order in which they were written.
    let (reader, writer) = io::pipe()?;
    let mut process = tokio::process::Command::new(&command.program);
    process.args(&command.arguments);
    process.envs(command.env.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = &command.directory {
        process.current_dir(directory);
    }
    process.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let child = process.spawn()?;
    // The command holds the pipe's writing end; the end of output shows only when it is closed here.
    drop(process);
    Ok((child, pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?))
}

/// Reads what is left, without waiting for children that keep the pipe open.
async fn drain(output: &mut pipe::Receiver, buffer: &mut [u8], lines: &mut Lines<'_>) {
    // Each read has the grace anew, so that a slow log does not cut what the command wrote; a child that
    // goes on writing has an end too.
    let end = Instant::now() + DRAIN_LIMIT;
    while Instant::now() < end {
        match timeout(READ_GRACE, output.read(buffer)).await {
            Ok(Ok(length @ 1..)) => lines.feed(&buffer[..length]),
            _ => break,
        }
    }
}

async fn terminate(child: &mut tokio::process::Child, group: Option<Pid>) {
    signal(group, Signal::TERM);
    let ended = timeout(TERM_GRACE, child.wait()).await.is_ok();
    // Children may have ignored what ended the command.
    signal(group, Signal::KILL);
    if !ended {
        drop(child.wait().await);
    }
}

/// Ends what is left of the group of a command that has ended; whether there was anything.
async fn end_left_behind(group: Option<Pid>) -> bool {
    // What is about to end, or to leave the group, may do so.
    let Some(group) = group else { return false };
    if is_gone(group, READ_GRACE).await {
        return false;
    }
    signal(Some(group), Signal::TERM);
    if !is_gone(group, LEFT_BEHIND_GRACE).await {
        signal(Some(group), Signal::KILL);
    }
    true
}

/// Whether nobody is left in a group, or will be soon.
async fn is_gone(group: Pid, soon: Duration) -> bool {
    let end = Instant::now() + soon;
    while test_kill_process_group(group).is_ok() {
        if Instant::now() >= end {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
    }
    true
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
