//! `excom run show`: a run with its tasks; those of a mapped task summed up.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::ArgMatches;
use excom::core::attempt::TaskInstanceInfo;
use excom::core::run::RunInfo;
use excom::{Result as Fallible, TaskInstanceKey, TaskState};
use jiff::Timestamp;
use serde::Serialize;

use super::{Document, not_known, state, took};
use crate::context::Context;
use crate::door::Door;
use crate::identity;
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::text::{self, Table};

/// The most failed task instances that are named.
const FAILED: usize = 10;

/// A task of the run: one task instance, or all map indexes of a mapped one.
#[derive(Default, Serialize)]
struct Task {
    task_id: Arc<str>,
    mapped: bool,
    instances: u64,
    states: BTreeMap<&'static str, u64>,
    tries: u32,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl Task {
    fn add(&mut self, info: &TaskInstanceInfo) {
        self.instances += 1;
        *self.states.entry(info.state.name()).or_default() += 1;
        let Some(attempt) = &info.attempt else { return };
        self.tries = self.tries.max(attempt.try_number);
        self.started_at = Some(self.started_at.map_or(attempt.started_at, |at| at.min(attempt.started_at)));
        self.ended_at = self.ended_at.max(attempt.ended_at);
    }

    fn name(&self) -> String {
        if self.mapped { format!("{}[{}]", self.task_id, self.instances) } else { self.task_id.to_string() }
    }

    /// `success`, or `23 success, 1 failed`.
    fn told(&self) -> String {
        match self.states.keys().next() {
            Some(state) if !self.mapped => (*state).to_owned(),
            _ => {
                let mut states: Vec<(&str, u64)> = self.states.iter().map(|(s, n)| (*s, *n)).collect();
                states.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
                let states = states.iter().map(|(state, count)| format!("{} {state}", text::number(*count)));
                states.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Of the last try; of a mapped task from the first start to the last end.
    fn took(&self) -> String {
        let over = self.states.keys().all(|state| *state != TaskState::Running.name());
        let times = self.started_at.zip(self.ended_at).filter(|_| over);
        times.map_or("-".to_owned(), |(from, to)| text::duration(from, to))
    }
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let (dag_id, run_id) = identity::run(matches, context.environment())?;
    let (door, empty) = context.looking()?;
    let Some(info) = door.run_info(&dag_id, &run_id).await? else {
        return Err(not_known(&dag_id, Some(&run_id), empty).into());
    };
    let (tasks, failed) = tasks(&door, &dag_id, &run_id).await?;
    if output.json() {
        #[derive(Serialize)]
        struct Shown<'a> {
            #[serde(flatten)]
            run: Document<'a>,
            tasks: &'a [Task],
            failed: &'a [TaskInstanceKey],
        }
        return output.document(&Shown { run: Document::of(&info)?, tasks: &tasks, failed: &failed });
    }
    for (name, told) in facts(&info) {
        output.line(&format!(
            "{}{}",
            output.styled(Style::Heading, &format!("{name:<9}")),
            text::tame(&told)
        ))?;
    }
    if tasks.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let mut table = Table::new(vec!["task", "state", "tries", "took"]);
    for task in &tasks {
        let tries = if task.tries == 0 { "-".to_owned() } else { task.tries.to_string() };
        table.row([task.name(), task.told(), tries, task.took()]);
    }
    for (i, line) in table.lines().enumerate() {
        let line = if i == 0 { output.styled(Style::Heading, &line) } else { line };
        output.line(&line)?;
    }
    if !failed.is_empty() {
        output.line("")?;
    }
    for ti in failed.iter().take(FAILED) {
        output.line(&format!("{} {}", output.styled(Style::Bad, "failed:"), text::tame(&ti.to_string())))?;
    }
    if failed.len() > FAILED {
        output.line(&format!("and {} more", text::number((failed.len() - FAILED) as u64)))?;
    }
    Ok(())
}

fn facts(info: &RunInfo) -> impl Iterator<Item = (&'static str, String)> {
    let run = &info.run;
    let facts = [
        ("dag", Some(run.dag_id.to_string())),
        ("run", Some(run.run_id.to_string())),
        ("state", Some(state(info).to_owned())),
        ("date", run.logical_date.map(text::time)),
        ("started", info.started_at.map(text::time)),
        ("ended", info.ended_at.map(|at| format!("{}, after {}", text::time(at), took(info)))),
        ("version", run.version.as_deref().map(str::to_owned)),
        ("params", run.conf.as_ref().map(|conf| conf.as_str().to_owned())),
    ];
    facts.into_iter().filter_map(|(name, told)| told.map(|told| (name, told)))
}

/// The tasks of a run in the order of their first starts, and the task instances that failed.
async fn tasks(door: &Door, dag_id: &str, run_id: &str) -> Fallible<(Vec<Task>, Vec<TaskInstanceKey>)> {
    let mut tasks: BTreeMap<(Arc<str>, bool), Task> = BTreeMap::new();
    let mut failed = Vec::new();
    let mut last: Option<(Arc<str>, i32)> = None;
    loop {
        let after = last.as_ref().map(|(task_id, map_index)| (&**task_id, *map_index));
        let page = door.task_instances(dag_id, run_id, after).await?;
        let Some(end) = page.last() else { break };
        last = Some((end.key.task_id.clone(), end.key.map_index));
        for info in page {
            let (task_id, mapped) = (info.key.task_id.clone(), info.key.is_mapped());
            if !mapped && info.state == TaskState::Removed && info.attempt.is_none() {
                // It stood for the instances of a mapped task while they were not known.
                continue;
            }
            let task = tasks.entry((task_id.clone(), mapped)).or_default();
            (task.task_id, task.mapped) = (task_id, mapped);
            task.add(&info);
            if info.state == TaskState::Failed {
                failed.push(info.key);
            }
        }
    }
    let mut tasks: Vec<Task> = tasks.into_values().collect();
    tasks.sort_by_key(|task| (task.started_at.is_none(), task.started_at));
    Ok((tasks, failed))
}
