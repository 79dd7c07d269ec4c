//! What a run leaves on the screen: the result, the XComs that carried it, and what to try next.

use std::path::PathBuf;

use excom_core::{Engine, EntryInfo, PullOptions, Result, TaskInstanceKey, TaskState, UNMAPPED, XComKey};
use excom_flow::RunReport;
use excom_flow::runner::{RunState, TestReport};

use super::listing::{self, PROGRAM};
use super::table::{quoted, tame};
use crate::config::{Origin, Settings};
use crate::embedded::Home;

/// The most rows of XComs.
const LISTED: usize = 40;

/// The most XComs that are read for them.
const READ: usize = 2000;

/// The longest value that is printed whole, in bytes.
const WHOLE: usize = 2000;

/// What is needed to print commands that find the same run.
pub(super) struct Place<'a> {
    pub(super) settings: &'a Settings,
    /// The DAG's id, where the program has several.
    pub(super) dag: Option<&'a str>,
}

impl Place<'_> {
    /// The option that names the home, where the environment does not.
    fn home(&self) -> String {
        match self.settings.core.home.origin() {
            Origin::Default | Origin::Environment(_) => String::new(),
            _ => format!(" --home {}", quoted(&Home::of(self.settings).folder().display().to_string())),
        }
    }

    /// The command by which this program goes on with a run that did not end well.
    pub(super) fn go_on(&self, report: &RunReport) -> Option<String> {
        let (what, command) = match report.state {
            RunState::Failed => ("run what failed again", "rerun --failed --run-id"),
            RunState::Cancelled => ("go on with it", "run --resume"),
            _ => return None,
        };
        let program = std::env::args_os().next().map_or_else(PathBuf::new, PathBuf::from);
        let (program, run) = (quoted(&program.display().to_string()), quoted(&report.run_id));
        let dag = self.dag.map_or_else(String::new, |dag| format!(" --dag {}", quoted(dag)));
        Some(format!("{what}:\n  {program} {command} {run}{dag}{}\n", self.home()))
    }
}

/// What is printed at the end of a run.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn of_run(
    engine: &Engine,
    place: &Place<'_>,
    report: &RunReport,
    shown: Option<&str>,
) -> Result<String> {
    let mut text = String::new();
    let finished = |task: &str| report.task(task).is_some_and(|task| task.state == TaskState::Success);
    if let Some(task) = shown.filter(|task| finished(task)) {
        text.push_str(&result(engine, report, task).await?);
    }
    let tasks = report.tasks.iter().map(|task| &*task.task_id);
    let (entries, more) =
        listing::entries(engine, &report.dag_id, &report.run_id, None, tasks, Some(READ)).await?;
    text.push_str("\nXComs of this run, in the order in which they were pushed\n");
    text.push_str(&listing::xcoms_in_short(&entries, LISTED));
    if more {
        text.push_str(&format!("  … and more than these first {READ}\n"));
    }
    text.push_str(&next(place, report, entries.last()));
    Ok(text)
}

async fn result(engine: &Engine, report: &RunReport, task: &str) -> Result<String> {
    let ti = TaskInstanceKey::new(report.dag_id.clone(), report.run_id.clone(), task, UNMAPPED)?;
    let answer = engine.pull(&PROGRAM, &[ti.return_value()], PullOptions::default()).await?.pop();
    let Some(value) = answer.map(excom_core::Answer::or_none).transpose()?.flatten() else {
        return Ok(String::new());
    };
    if value.is_secret() {
        return Ok(format!("\n{}\n", value.preview()));
    }
    let text = value.get::<String>().unwrap_or_else(|_| value.as_str().to_owned());
    Ok(format!("\n{}\n", text.trim_end()))
}

fn next(place: &Place<'_>, report: &RunReport, last: Option<&EntryInfo>) -> String {
    let folder = Home::of(place.settings);
    let mut text = format!("\nrun {} {}: {}\n", report.dag_id, report.run_id, report.state);
    if let Some(task) = report.tasks.iter().find(|task| task.state == TaskState::Failed)
        && let Some(log) = &task.log
    {
        text.push_str(&format!("log of {}: {}\n", task.task_id, log.display()));
    }
    text.push_str(&place.go_on(report).unwrap_or_default());
    text.push_str(&format!("kept in {}; look at it with the `excom` command", folder.folder().display()));
    text.push_str(" (the package excom-cli):\n");
    // The commands must find the same home, wherever it was named.
    let home = place.home();
    let run = format!("--dag-id {} --run-id {}{home}", quoted(&report.dag_id), quoted(&report.run_id));
    text.push_str(&format!("  excom xcom list {run}\n"));
    if let Some(XComKey { ti, key, .. }) = last.map(|info| &info.key) {
        let index = if ti.is_mapped() { format!(" --map-index {}", ti.map_index) } else { String::new() };
        let (task, key) = (quoted(&ti.task_id), quoted(key));
        text.push_str(&format!("  excom xcom pull {run} --task-id {task}{index} --key {key}\n"));
    }
    text.push_str(&format!("  excom doctor{home}\n"));
    text
}

/// What a task did that was tested.
pub(super) fn of_test(report: &TestReport) -> String {
    let instance = listing::instance(&report.ti.task_id, report.ti.map_index);
    let millis = report.duration.as_micros() as f64 / 1000.0;
    let mut text =
        format!("{instance}: {} in {millis:.1} ms, against run {}\n", report.state, report.ti.run_id);
    for (name, value) in &report.rendered {
        text.push_str(&format!("  rendered {name} = {}\n", shortened(value)));
    }
    for (key, value) in &report.pushed {
        text.push_str(&format!("  {key} = {}\n", shortened(value)));
    }
    for (key, value) in &report.variables {
        match value {
            Some(value) => text.push_str(&format!("  variable {key} = {}\n", tame(value))),
            None => text.push_str(&format!("  variable {key} deleted\n")),
        }
    }
    if !report.skips.is_empty() {
        text.push_str(&format!("  skips {}\n", report.skips.join(", ")));
    }
    if let Some(failure) = &report.failure {
        let hints = failure.hints.iter().map(|hint| format!("hint: {hint}"));
        for line in failure.message.lines().map(ToOwned::to_owned).chain(hints) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text.push_str("nothing of it was stored\n");
    text
}

fn shortened(value: &excom_core::Value) -> String {
    let text = value.as_str();
    if value.is_secret() {
        return format!("{} ({})", value.preview(), value.shape());
    }
    if text.len() <= WHOLE {
        return tame(text);
    }
    let preview = tame(&value.preview());
    format!("{preview} ({}, {} bytes)", value.shape(), text.len())
}
