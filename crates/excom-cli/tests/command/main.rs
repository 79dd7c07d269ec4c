//! The real `excom` binary, as a shell runs it: what it prints, where, and how it exits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attached;
mod contracts;
mod dictionary;
mod doctor;
mod exclusive;
mod garbage;
mod instances;
mod migrate;
mod names;
mod operating;
mod pages;
mod places;
mod pull;
mod push;
mod python;
mod removal;
mod runs;
mod secrets;
mod server;
mod settings;
mod stores;
mod task;
mod trace;
mod variables;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use excom::config::Settings;
use excom::{Engine, embedded};
use serde_json::Value as Json;
use tempfile::TempDir;

/// The arguments that name the XCom `weather/r1/count`.
const COUNT: [&str; 6] = ["--dag-id", "weather", "--run-id", "r1", "--task-id", "count"];

/// A folder of its own to run the command in.
struct Shell {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// What a command printed and how it exited.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }.with("LOGNAME", "ana")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn home(&self) -> std::path::PathBuf {
        self.path().join(".excom")
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// The engine on the same home, for what no command does.
    fn engine(&self) -> Engine {
        embedded::open(&Settings::at(self.home())).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_excom"));
        command.args(arguments).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Told {
        Told::from(self.command(arguments).output().unwrap())
    }

    /// `excom xcom COMMAND` about [`COUNT`].
    fn count(&self, command: &str, arguments: &[&str]) -> Told {
        self.run(&[&["xcom", command], &COUNT[..], arguments].concat())
    }

    /// The same with bytes on standard input.
    fn count_with(&self, command: &str, arguments: &[&str], input: &[u8]) -> Told {
        self.run_with(&[&["xcom", command], &COUNT[..], arguments].concat(), input)
    }

    /// Any command with bytes on standard input.
    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Told {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // A refused value is not read to its end, so the pipe may break.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let told = Told::from(child.wait_with_output().unwrap());
        writer.join().unwrap();
        told
    }

    fn pushed(&self, arguments: &[&str]) {
        assert_eq!(self.count("push", arguments), Told::nothing());
    }
}

impl Told {
    fn nothing() -> Self {
        Self { code: 0, out: String::new(), err: String::new() }
    }

    fn out(text: &str) -> Self {
        Self { out: text.to_owned(), ..Self::nothing() }
    }

    fn err(code: i32, text: &str) -> Self {
        Self { code, err: text.to_owned(), out: String::new() }
    }

    /// The one document of a `--json` answer; nothing may be beside it.
    fn json(&self) -> Json {
        assert_eq!(self.err, "");
        assert!(self.out.ends_with('\n'), "{}", self.out);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    #[track_caller]
    fn contains(&self, code: i32, parts: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
        }
        self
    }
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
