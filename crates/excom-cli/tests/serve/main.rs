//! `excom serve` as a process: how it begins, ends and refuses, Airflow's own workers against it, and Airflow's own server
//! beside it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod airflows;
mod answers;
mod client;
mod conformance;
mod described;
mod files;
mod process;
mod remote;
mod traces;
mod workers;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A server that listens on a free port.
struct Served {
    process: Child,
    address: String,
    /// A token that may do everything.
    token: String,
}

impl Served {
    /// Starts one for development over a home.
    fn start(home: &Path) -> Self {
        Self::set(home, &[])
    }

    /// The same with settings from the environment.
    fn set(home: &Path, settings: &[(&str, &str)]) -> Self {
        let mut process = excom(home)
            .args(["serve", "--dev", "--listen", "127.0.0.1:0"])
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let (address, token) = (line(), line());
        Self { process, address, token }
    }

    /// Tells it to stop, and waits until it has.
    fn stop(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.process.wait().unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test failed, or it has ended.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The command in a home, without anything of the surroundings.
fn excom(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_excom"));
    command.arg("--home").arg(home).current_dir(home.parent().unwrap()).env_clear().stdin(Stdio::null());
    command
}
