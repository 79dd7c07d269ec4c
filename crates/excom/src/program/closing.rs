//! What a run leaves on the screen: the result, the XComs that carried it, and what to try next.

use std::io::{self, Write as _};

use excom_core::db::Filter;
use excom_core::{
    Caller, Engine, EntryInfo, PullOptions, Result, TaskInstanceKey, TaskState, UNMAPPED, XComKey,
};
use excom_flow::RunReport;

use crate::config::{Origin, Settings};
use crate::embedded::Home;

/// The most XComs that are listed.
const LISTED: u32 = 40;

const PROGRAM: Caller = Caller::System("program");

pub(super) fn print(
    engine: &Engine,
    settings: &Settings,
    report: &RunReport,
    shown: Option<&str>,
) -> Result<()> {
    let mut text = String::new();
    let finished = |task: &str| report.task(task).is_some_and(|task| task.state == TaskState::Success);
    if let Some(task) = shown.filter(|task| finished(task)) {
        text.push_str(&result(engine, report, task)?);
    }
    let filter = Filter {
        dag_id: Some(report.dag_id.clone()),
        run_id: Some(report.run_id.clone()),
        ..Filter::default()
    };
    let page = pollster::block_on(engine.list(&PROGRAM, &filter, None, LISTED))?;
    let mut entries = page.items;
    // In the order in which they were pushed: that is how the result came about.
    entries.sort_by_key(|info| info.version);
    text.push_str(&table(&entries));
    if page.next.is_some() {
        text.push_str("  … and more\n");
    }
    text.push_str(&next(settings, report, entries.last()));
    // Nobody reads any more: the run stands all the same.
    drop(io::stdout().write_all(text.as_bytes()));
    Ok(())
}

fn result(engine: &Engine, report: &RunReport, task: &str) -> Result<String> {
    let ti = TaskInstanceKey::new(report.dag_id.clone(), report.run_id.clone(), task, UNMAPPED)?;
    let keys = [ti.return_value()];
    let answer = pollster::block_on(engine.pull(&PROGRAM, &keys, PullOptions::default()))?.pop();
    let Some(value) = answer.map(excom_core::Answer::or_none).transpose()?.flatten() else {
        return Ok(String::new());
    };
    let text = value.get::<String>().unwrap_or_else(|_| value.as_str().to_owned());
    Ok(format!("\n{}\n", text.trim_end()))
}

fn table(entries: &[EntryInfo]) -> String {
    let mut rows = vec![["task", "key", "kind", "size", "where", "value"].map(str::to_owned)];
    rows.extend(entries.iter().map(|info| {
        let ti = &info.key.ti;
        let task =
            if ti.is_mapped() { format!("{}[{}]", ti.task_id, ti.map_index) } else { ti.task_id.to_string() };
        [
            task,
            info.key.key.to_string(),
            info.shape.to_string(),
            info.size.to_string(),
            if info.offloaded { "file" } else { "database" }.to_owned(),
            tame(&info.preview),
        ]
    }));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::from("\nXComs of this run, in the order in which they were pushed\n");
    for row in &rows {
        text.push(' ');
        for (width, cell) in widths.iter().zip(row) {
            text.push_str(&format!(" {cell:<width$} "));
        }
        text.push_str(&format!(" {}\n", row[5]));
    }
    text
}

/// Control characters of a value must not steer the terminal.
fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

fn next(settings: &Settings, report: &RunReport, last: Option<&EntryInfo>) -> String {
    let home = Home::of(settings);
    let mut text = format!("\nrun {} {}: {}\n", report.dag_id, report.run_id, report.state);
    if let Some(task) = report.tasks.iter().find(|task| task.state == TaskState::Failed)
        && let Some(log) = &task.log
    {
        text.push_str(&format!("log of {}: {}\n", task.task_id, log.display()));
    }
    text.push_str(&format!("kept in {}; look at it with the `excom` command", home.folder().display()));
    text.push_str(" (the package excom-cli):\n");
    // The commands must find the same home, wherever it was named.
    let place = match settings.core.home.origin() {
        Origin::Default | Origin::Environment(_) => String::new(),
        _ => format!(" --home '{}'", home.folder().display()),
    };
    let run = format!("--dag-id {} --run-id '{}'{place}", report.dag_id, report.run_id);
    text.push_str(&format!("  excom xcom list {run}\n"));
    if let Some(XComKey { ti, key, .. }) = last.map(|info| &info.key) {
        text.push_str(&format!("  excom xcom pull {run} --task-id {} --key {key}\n", ti.task_id));
    }
    text.push_str(&format!("  excom doctor{place}\n"));
    text
}
