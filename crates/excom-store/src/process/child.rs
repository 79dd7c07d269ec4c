//! The operating system's process: started in a group of its own, and ended with all that it started.

use std::io;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A process that runs, or has ended.
#[derive(Debug)]
pub(super) struct Child(Mutex<State>);

#[derive(Debug)]
struct State {
    child: std::process::Child,
    status: Option<ExitStatus>,
}

/// Its standard input, output and error.
pub(super) type Pipes = (ChildStdin, ChildStdout, ChildStderr);

impl Child {
    pub(super) fn start(command: &[String]) -> io::Result<(Self, Pipes)> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for the engine, which may still have values to store.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((stdin, stdout), stderr) = pipes.ok_or_else(|| io::Error::other("it has no pipes"))?;
        Ok((Self(Mutex::new(State { child, status: None })), (stdin, stdout, stderr)))
    }

    /// Kills the group. Whoever is ending it already goes on with that.
    pub(super) fn kill(&self) {
        if let Ok(mut state) = self.0.try_lock()
            && state.status.is_none()
        {
            group::kill(&mut state.child);
        }
    }

    /// Waits for its end, which is asked for after a while and enforced after another; tells how it ended.
    pub(super) fn end(&self, grace: Duration) -> Option<ExitStatus> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.status.is_none() {
            if !ends(&mut state.child, grace) {
                group::terminate(&mut state.child);
                ends(&mut state.child, grace);
            }
            // Its number stays taken until it is waited for, so what it left behind can be killed by that.
            group::kill(&mut state.child);
            state.status = state.child.wait().ok();
        }
        state.status
    }
}

fn ends(child: &mut std::process::Child, within: Duration) -> bool {
    let begin = Instant::now();
    loop {
        if group::has_ended(child) {
            return true;
        }
        if begin.elapsed() >= within {
            return false;
        }
        sleep(LOOK_EVERY);
    }
}

#[cfg(unix)]
mod group {
    use std::process::Child;

    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

    fn pid(child: &Child) -> Option<Pid> {
        Pid::from_raw(i32::try_from(child.id()).ok()?)
    }

    /// Whether it has ended, without taking notice of it.
    pub(super) fn has_ended(child: &mut Child) -> bool {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that there is nothing to wait for.
        pid(child).is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), how), Ok(None)))
    }

    pub(super) fn terminate(child: &mut Child) {
        signal(child, Signal::TERM);
    }

    pub(super) fn kill(child: &mut Child) {
        signal(child, Signal::KILL);
    }

    fn signal(child: &Child, signal: Signal) {
        if let Some(pid) = pid(child) {
            // Nobody may be left, which is fine.
            let _ = kill_process_group(pid, signal);
        }
    }
}

#[cfg(not(unix))]
mod group {
    use std::process::Child;

    pub(super) fn has_ended(child: &mut Child) -> bool {
        !matches!(child.try_wait(), Ok(None))
    }

    pub(super) fn terminate(child: &mut Child) {
        kill(child);
    }

    pub(super) fn kill(child: &mut Child) {
        let _ = child.kill();
    }
}
