//! What ends a process group when this program is killed: a small shell that reads from a pipe which only
//! this program can write to, and nobody ever does. When this program is gone, however it went, the pipe
//! ends, and the shell kills the group.
//!
//! The kernel could do it (`PR_SET_PDEATHSIG`), but only to the first process of the group, and only by
//! code between fork and exec, which cannot be written safely.

use std::io::{self, PipeWriter};
use std::process::Stdio;

use rustix::process::Pid;

/// Watches over a process group as long as it lives.
#[derive(Debug)]
pub(super) struct Watch {
    /// Killed and reaped when it is dropped, before the pipe ends.
    _shell: tokio::process::Child,
    _alive: PipeWriter,
}

impl Watch {
    pub(super) fn over(group: Pid) -> io::Result<Self> {
        let (reader, alive) = io::pipe()?;
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", r#"read -r never; kill -s KILL -- "-$1""#, "sh", &group.to_string()]);
        // A group of its own, so that Ctrl-C in a terminal does not end the watch.
        shell.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
        Ok(Self { _shell: shell.spawn()?, _alive: alive })
    }
}
