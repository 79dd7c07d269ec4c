//! A real DAG program, as a shell runs it: interrupted, killed, gone on with, run again, looked at.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exclusive;
mod interrupted;
mod isolated;
mod looking;
mod testing;
mod wrong;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use excom::Engine;
use excom::config::Settings;
use tempfile::TempDir;

/// How long something may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own to run the program in.
struct Shell {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What a command printed and how it exited.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.path(".excom")
    }

    fn make(&self, name: &str) {
        std::fs::write(self.path(name), "").unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// The lines that tasks wrote down so far, in order of their names; those are forgotten.
    fn ran(&self) -> Vec<String> {
        let path = self.path("ran");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        drop(std::fs::remove_file(path));
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The program, at its end.
    fn run(&self, arguments: &[&str]) -> Told {
        Told::from(self.command(env!("CARGO_BIN_EXE_dag-program"), arguments).output().unwrap())
    }

    /// Runs the DAG `steps` as the run `r1`.
    fn steps(&self, more: &[&str]) -> Told {
        self.run(&[&["--dag", "steps", "--folder", ".", "--run-id", "r1"], more].concat())
    }

    /// The DAG `steps` as a process whose second instance of `double` waits, when what runs beside it is done.
    fn held(&self) -> Child {
        let child = self.holding();
        wait_for(|| self.pushed("double").len() == 2);
        child
    }

    /// The DAG `steps` as a process whose second instance of `double` waits.
    fn holding(&self) -> Child {
        self.make("hold");
        let arguments = ["--dag", "steps", "--folder", ".", "--run-id", "r1"];
        let mut command = self.command(env!("CARGO_BIN_EXE_dag-program"), &arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(|| self.path("held").exists());
        child
    }

    /// The map indexes at which a task of `steps` pushed in the run `r1`.
    fn pushed(&self, task: &str) -> Vec<i64> {
        let told = self.run(&["xcoms", "--dag", "steps", "--run-id", "r1", "--task-id", task, "--json"]);
        let listed: Vec<serde_json::Value> = serde_json::from_str(&told.out).unwrap_or_default();
        let mut indexes: Vec<i64> = listed.iter().map(|info| info["map_index"].as_i64().unwrap()).collect();
        indexes.sort_unstable();
        indexes
    }

    fn engine(&self) -> Engine {
        excom::embedded::open(&Settings::at(self.home())).unwrap()
    }
}

impl Told {
    #[track_caller]
    fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Both outputs have these parts.
    #[track_caller]
    fn has(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.out.contains(part) || self.err.contains(part), "{part:?} is not in {self:#?}");
        }
        self
    }
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[track_caller]
fn wait_for(come: impl Fn() -> bool) {
    let begin = Instant::now();
    while !come() {
        assert!(begin.elapsed() < PATIENCE, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a child by its own id, as Ctrl-C does.
fn interrupt(child: &Child) {
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

/// How many files are in a folder; none when it is not there.
fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
