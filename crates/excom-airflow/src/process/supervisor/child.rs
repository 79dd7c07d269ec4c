//! The process of one try: in a group of its own, so that all of it can be ended.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use excom_flow::runner::isolation::Crash;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::TcpListener;
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use super::Program;

/// By this variable, which children inherit, those are found that left the task's process group.
const MARK: &str = "EXCOM_TASK_PROCESS";

/// The process of one try. When it is dropped, it is killed with all that it started.
pub(super) struct Child {
    process: tokio::process::Child,
    group: Pid,
    mark: String,
    ended: bool,
}

impl Child {
    pub(super) fn spawn(program: &Program, comm: &TcpListener, logs: &TcpListener) -> Result<Self> {
        let failed = |e: io::Error| {
            let message = format!("the task's program {} cannot be started", program.name.display());
            Error::new(ErrorKind::Other, message).because(e).hint("it must be there and be executable")
        };
        let argument = |name: &str, address: SocketAddr| format!("--{name}={address}");
        // Of each process: an attempt has several when it is rescheduled.
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| failed(io::Error::other(e.to_string())))?;
        let mark = format!("{:032x}", u128::from_ne_bytes(random));
        let process = Command::new(&program.path)
            .arg0(&program.name)
            .arg(argument("comm", comm.local_addr().map_err(failed)?))
            .arg(argument("logs", logs.local_addr().map_err(failed)?))
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let group = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = group.ok_or_else(|| failed(io::Error::other("it has no process id")))?;
        Ok(Self { process, group, mark, ended: false })
    }

    /// Its number, which is also that of its group.
    pub(super) fn process(&self) -> Pid {
        self.group
    }

    pub(super) fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.process.stdout.take(), self.process.stderr.take())
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Asks it to end, and kills it when it does not.
    pub(super) async fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        if let Ok(status) = timeout(grace, self.process.wait()).await {
            return status;
        }
        self.signal(Signal::KILL);
        self.process.wait().await
    }

    /// Kills what is left of the process group, when the process itself has ended.
    pub(super) fn kill_group(&mut self) {
        self.signal(Signal::KILL);
        self.ended = true;
    }

    fn signal(&self, signal: Signal) {
        // It may have ended in between, which is fine.
        let _ = kill_process_group(self.group, signal);
    }

    /// Kills processes that the task started in groups of their own, as a shell command is, and could not end
    /// itself. Only where the system tells of them.
    pub(super) fn kill_strays(&self) {
        let Ok(processes) = std::fs::read_dir("/proc") else { return };
        let mark = format!("{MARK}={}", self.mark);
        for process in processes.flatten() {
            let id = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            let environment = std::fs::read(process.path().join("environ"));
            if let (Some(id), Ok(environment)) = (id, environment)
                && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
            {
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(Signal::KILL);
            self.kill_strays();
        }
    }
}

/// The end of a process that did not say how its task ended.
pub(super) fn crash(status: ExitStatus, last_lines: Vec<String>) -> Crash {
    Crash { signal: status.signal(), exit_code: status.code(), last_lines }
}
