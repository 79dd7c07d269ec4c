//! The `excom` command as a person uses it in a hunt: each use counts, and so does each line that it prints.

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use super::Steps;
use super::build::{DAG, RUN};
use crate::Result;

/// The command on one home.
pub(super) struct Commands<'a> {
    excom: &'a Path,
    home: &'a Path,
    steps: Cell<Steps>,
}

impl<'a> Commands<'a> {
    pub(super) fn new(excom: &'a Path, home: &'a Path) -> Self {
        Self { excom, home, steps: Cell::default() }
    }

    /// What was counted since the last time.
    pub(super) fn steps(&self) -> Steps {
        self.steps.take()
    }

    /// A command about the run. It counts as one: what a person reads is counted, and what the hunt goes by is the
    /// same as a document.
    pub(super) fn ask(&self, command: &[&str], about: &[&str]) -> Result<Json> {
        let run = ["--dag-id", DAG, "--run-id", RUN];
        let arguments = [command, &run, about].concat();
        let text = self.output(&arguments)?;
        let mut steps = self.steps.get();
        steps += Steps { commands: 1, lines: text.lines().count() as u64 };
        self.steps.set(steps);
        Ok(serde_json::from_str(&self.output(&[&arguments[..], &["--json"]].concat())?)?)
    }

    /// The same about a task instance.
    pub(super) fn ask_of(
        &self,
        command: &[&str],
        task_id: &str,
        map_index: i32,
        more: &[&str],
    ) -> Result<Json> {
        let map_index = map_index.to_string();
        let about = ["--task-id", task_id, "--map-index", &map_index];
        self.ask(command, &[&about[..], more].concat())
    }

    fn output(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(self.excom)
            .args(arguments)
            .arg("--home")
            .arg(self.home)
            .env_clear()
            .current_dir(self.home)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(format!("excom {}: {}: {told}", arguments.join(" "), output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}
