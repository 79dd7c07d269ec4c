//! What a DAG program lists: the tasks of the DAG, and the XComs of a run.

use std::collections::HashMap;
use std::sync::Arc;

use excom_core::db::Filter;
use excom_core::{Caller, Engine, EntryInfo, Result, UNMAPPED};
use excom_flow::{Graph, Task};
use serde::Serialize;

use super::table::{table, tame};

/// Who reads for the program.
pub(super) const PROGRAM: Caller = Caller::System("program");

/// How many XComs are read together.
const PAGE: u32 = 500;

/// A task of a DAG, for lists.
#[derive(Serialize)]
struct Listed<'a> {
    task_id: &'a str,
    operator: &'static str,
    mapped: bool,
    upstream: Vec<&'a str>,
    #[serde(flatten)]
    settings: &'a excom_flow::Settings,
}

impl<'a> From<&'a Task> for Listed<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            task_id: task.id(),
            operator: task.operator(),
            mapped: task.is_mapped(),
            upstream: task.upstream().collect(),
            settings: task.settings(),
        }
    }
}

/// The tasks of a DAG.
pub(super) fn tasks(graph: &Graph, json: bool) -> String {
    let listed = graph.tasks().iter().map(Listed::from);
    if json {
        return document(&listed.collect::<Vec<_>>());
    }
    let mut rows = vec![["task", "runs", "trigger rule", "retries", "mapped", "after"].map(str::to_owned)];
    rows.extend(listed.map(|task| {
        [
            task.task_id.to_owned(),
            task.operator.to_owned(),
            task.settings.trigger_rule.to_string(),
            task.settings.retries.to_string(),
            if task.mapped { "yes" } else { "" }.to_owned(),
            task.upstream.join(", "),
        ]
    }));
    table(&rows)
}

/// The XComs of a run in the order in which they were pushed, at most so many of them, and whether there are more.
/// Within a millisecond the order is that of the DAG's tasks.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn entries<'a>(
    engine: &Engine,
    dag_id: &Arc<str>,
    run_id: &Arc<str>,
    task_id: Option<&str>,
    tasks: impl Iterator<Item = &'a str>,
    most: Option<usize>,
) -> Result<(Vec<EntryInfo>, bool)> {
    let filter = Filter {
        dag_id: Some(dag_id.clone()),
        run_id: Some(run_id.clone()),
        task_id: task_id.map(Arc::from),
        ..Filter::default()
    };
    let mut entries: Vec<EntryInfo> = Vec::new();
    let mut next = None;
    loop {
        let page = engine.list(&PROGRAM, &filter, next.as_ref(), PAGE).await?;
        entries.extend(page.items);
        next = page.next;
        if next.is_none() || most.is_some_and(|most| entries.len() >= most) {
            break;
        }
    }
    let all = entries.len();
    entries.truncate(most.unwrap_or(all));
    let more = next.is_some() || entries.len() < all;
    let places: HashMap<&str, usize> = tasks.enumerate().map(|(place, task)| (task, place)).collect();
    // That is how the result came about.
    entries.sort_by_key(|info| {
        let ti = &info.key.ti;
        (info.version.time(), places.get(&*ti.task_id).copied(), ti.map_index, info.version)
    });
    Ok((entries, more))
}

/// XComs as a table.
pub(super) fn xcoms(entries: &[EntryInfo]) -> String {
    rows(entries.iter().map(row))
}

/// XComs as a table with one row for all instances of a mapped task, where the first of them is; at most so many
/// rows.
pub(super) fn xcoms_in_short(entries: &[EntryInfo], most: usize) -> String {
    let mut instances: HashMap<(&str, &str), (u64, u64)> = HashMap::new();
    for info in entries.iter().filter(|info| info.key.ti.is_mapped()) {
        let (count, size) = instances.entry((&info.key.ti.task_id, &info.key.key)).or_default();
        (*count, *size) = (*count + 1, *size + info.size);
    }
    let mut short = entries.iter().filter_map(|info| {
        if !info.key.ti.is_mapped() {
            return Some(row(info));
        }
        let (count, size) = instances.remove(&(&*info.key.ti.task_id, &*info.key.key))?;
        let [_, key, kind, _, place, value] = row(info);
        let task = format!("{}[]", info.key.ti.task_id);
        let kind = if count == 1 { kind } else { format!("{count} values") };
        Some([task, key, kind, size.to_string(), place, value])
    });
    let mut text = rows(short.by_ref().take(most));
    if short.next().is_some() {
        text.push_str("  … and more\n");
    }
    text
}

fn rows(entries: impl Iterator<Item = [String; 6]>) -> String {
    let head = ["task", "key", "kind", "size", "where", "value"].map(str::to_owned);
    table(&std::iter::once(head).chain(entries).collect::<Vec<_>>())
}

fn row(info: &EntryInfo) -> [String; 6] {
    [
        instance(&info.key.ti.task_id, info.key.ti.map_index),
        info.key.key.to_string(),
        info.shape.to_string(),
        info.size.to_string(),
        if info.offloaded { "file" } else { "database" }.to_owned(),
        tame(&info.preview),
    ]
}

/// A task instance for people: `hottest[3]`.
pub(super) fn instance(task_id: &str, map_index: i32) -> String {
    if map_index == UNMAPPED { task_id.to_owned() } else { format!("{task_id}[{map_index}]") }
}

/// A JSON document with a line of its own.
pub(super) fn document(of: &impl Serialize) -> String {
    // What is listed here has text keys only, so it is JSON.
    serde_json::to_string_pretty(of).map_or_else(|_| String::new(), |text| text + "\n")
}
