//! The hunt without `excom trace`: from task to task, looking at what each read, as `excom run show` tells it.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::command::Commands;
use super::{Found, Steps, Try, looks_wrong, name, plan};
use crate::Result;

/// The culprit and the consumers, and what each took.
pub(super) fn hunt(commands: &Commands<'_>) -> Result<(Found, Steps, Steps)> {
    let culprit = back(commands)?;
    let back = commands.steps();
    let consumers = forth(commands, &culprit)?;
    Ok((Found { culprit, consumers }, back, commands.steps()))
}

/// Looks at the upstreams of a task one by one, and goes to the first that is wrong.
fn back(commands: &Commands<'_>) -> Result<Try> {
    let mut at = (plan::RESULT.to_owned(), excom::UNMAPPED);
    loop {
        let shown = commands.ask_of(&["run", "show"], &at.0, at.1, &[])?;
        let mut wrong = None;
        for read in items(&shown, "read") {
            let target = &read["target"];
            if target["sequence"].is_object() {
                let task = target["sequence"]["task_id"].as_str().unwrap_or_default();
                let elements = commands.ask(&["xcom", "list"], &["--task-id", task])?;
                wrong = items(&elements, "items").find(|element| looks_wrong(element)).map(name);
            } else if looks_wrong(&read["value"]) {
                wrong = Some(name(&read["value"]));
            }
            if wrong.is_some() {
                break;
            }
        }
        let Some(origin) = wrong else {
            // Its own value is wrong, and nothing that it read.
            let pushed = items(&shown, "pushed").find(|pushed| looks_wrong(pushed));
            let number = pushed.and_then(|pushed| pushed["try_number"].as_u64());
            return Ok((at.0, at.1, number.ok_or("the culprit's try is not told")?));
        };
        at = origin;
    }
}

/// Looks for all wrong values of the run, and then at each of those who pushed them.
fn forth(commands: &Commands<'_>, culprit: &Try) -> Result<BTreeSet<Try>> {
    let listed = commands.ask(&["xcom", "list"], &["--limit", "10000"])?;
    let wrong: BTreeSet<(String, i32)> =
        items(&listed, "items").filter(|entry| looks_wrong(entry)).map(name).collect();
    let wrong_tasks: BTreeSet<&str> = wrong.iter().map(|(task_id, _)| &**task_id).collect();
    let mut consumers = BTreeSet::new();
    for (task_id, map_index) in wrong.iter().filter(|name| (&*name.0, name.1) != (&*culprit.0, culprit.1)) {
        let shown = commands.ask_of(&["run", "show"], task_id, *map_index, &[])?;
        for read in items(&shown, "read") {
            let sequence = read["target"]["sequence"]["task_id"].as_str();
            if !looks_wrong(&read["value"]) && !sequence.is_some_and(|task| wrong_tasks.contains(task)) {
                continue;
            }
            let mut attempts = items(&shown, "attempts");
            let attempt = attempts.find(|attempt| attempt["number"] == read["attempt"]);
            let number = attempt.and_then(|attempt| attempt["try_number"].as_u64());
            consumers.insert((task_id.clone(), *map_index, number.ok_or("a reader's try is not told")?));
        }
    }
    Ok(consumers)
}

fn items<'a>(document: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    document[name].as_array().into_iter().flatten()
}
