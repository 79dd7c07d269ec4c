//! `excom run show --task-id T`: a task instance with its attempts, the rendered fields of its operator,
//! what it read and what it pushed.

use clap::ArgMatches;
use excom::core::attempt::AttemptInfo;
use excom::core::db::ReadTarget;
use excom::core::engine::{Footprint, TracedVersion, VersionRead};
use excom::{Result as Fallible, TaskInstanceKey, TaskState};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::context::Context;
use crate::door::Door;
use crate::output::{Output, Style};
use crate::stop::{NoValue, Stop};
use crate::text::{self, Table};
use crate::{identity, trace};

/// The most reads and the most pushes that people are shown; documents have all.
const SHOWN: usize = 20;

/// The most map indexes that are named when none was given.
const NAMED: usize = 10;

/// A task instance as a document.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    key: &'a TaskInstanceKey,
    state: &'static str,
    attempts: &'a [AttemptInfo],
    #[serde(skip_serializing_if = "Option::is_none")]
    rendered: Option<RenderedFields>,
    read: &'a [VersionRead],
    more_read: u64,
    pushed: &'a [TracedVersion],
    more_pushed: u64,
}

/// What the fields of an attempt's operator were rendered to, in their order.
#[derive(Serialize)]
struct RenderedFields {
    attempt: u32,
    fields: Vec<RenderedField>,
}

#[derive(Serialize)]
struct RenderedField {
    name: String,
    value: Box<RawValue>,
}

pub(super) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let ti = identity::task_instance(matches, context.environment())?;
    let (door, empty) = context.looking()?;
    let Some(footprint) = door.footprint(&ti).await? else {
        return Err(not_there(&door, &ti, empty).await?);
    };
    door.close(output).await;
    let Footprint { state, attempts, rendered, read, more_read, pushed, more_pushed, .. } = footprint;
    if output.json() {
        let rendered = match rendered {
            Some(rendered) => {
                let field = |(name, value): (String, _)| -> Result<_, Stop> {
                    Ok(RenderedField { name, value: crate::xcom::raw(&value)? })
                };
                let fields = rendered.fields.into_iter().map(field).collect::<Result<_, _>>()?;
                Some(RenderedFields { attempt: rendered.number, fields })
            }
            None => None,
        };
        return output.document(&Document {
            key: &ti,
            state: state.name(),
            attempts: &attempts,
            rendered,
            read: &read,
            more_read,
            pushed: &pushed,
            more_pushed,
        });
    }
    head(&ti, state, output)?;
    attempted(&attempts, output)?;
    if let Some(rendered) = rendered {
        heading(&format!("rendered fields of attempt {}", rendered.number), output)?;
        for (name, value) in rendered.fields {
            let text = value.get::<String>().unwrap_or_else(|_| value.as_str().to_owned());
            field(&name, &text, output)?;
        }
    }
    if !read.is_empty() {
        heading("read", output)?;
        for read in read.iter().take(SHOWN) {
            output.line(&text::tame(&told(read, &ti, attempts.len() > 1)))?;
        }
        beyond(read.len() + more_read as usize, output)?;
    }
    if !pushed.is_empty() {
        heading("pushed", output)?;
        for version in pushed.iter().take(SHOWN) {
            let told = format!("  `{}`{}", version.info.key.key, trace::about(version));
            output.line(&text::tame(&told))?;
        }
        beyond(pushed.len() + more_pushed as usize, output)?;
    }
    Ok(())
}

fn head(ti: &TaskInstanceKey, state: TaskState, output: &mut Output) -> Result<(), Stop> {
    let index = ti.is_mapped().then(|| ti.map_index.to_string());
    let facts = [
        ("dag", Some(ti.dag_id.to_string())),
        ("run", Some(ti.run_id.to_string())),
        ("task", Some(ti.task_id.to_string())),
        ("index", index),
        ("state", Some(state.name().to_owned())),
    ];
    for (name, told) in facts.into_iter().filter_map(|(name, told)| told.map(|told| (name, told))) {
        let name = output.styled(Style::Heading, &format!("{name:<9}"));
        output.line(&format!("{name}{}", text::tame(&told)))?;
    }
    Ok(())
}

fn attempted(attempts: &[AttemptInfo], output: &mut Output) -> Result<(), Stop> {
    if attempts.is_empty() {
        return output.line("\nno attempt of it has started");
    }
    let mut table = Table::new(vec!["attempt", "try", "state", "started", "ended", "took"]);
    for attempt in attempts {
        table.row([
            attempt.number.to_string(),
            attempt.try_number.to_string(),
            attempt.state.name().to_owned(),
            text::time(attempt.started_at),
            attempt.ended_at.map_or("-".to_owned(), text::time),
            attempt.ended_at.map_or("-".to_owned(), |at| text::duration(attempt.started_at, at)),
        ]);
    }
    output.line("")?;
    for (i, line) in table.lines().enumerate() {
        let line = if i == 0 { output.styled(Style::Heading, &line) } else { line };
        output.line(&line)?;
    }
    Ok(())
}

fn heading(heading: &str, output: &mut Output) -> Result<(), Stop> {
    output.line("")?;
    output.line(&output.styled(Style::Heading, heading))
}

/// A field with its value; a text of several lines below its name, each line as it is.
fn field(name: &str, value: &str, output: &mut Output) -> Result<(), Stop> {
    let name = text::tame(name);
    if !value.trim_end().contains('\n') {
        return output.line(&format!("  {name}: {}", text::tame(value.trim_end())));
    }
    output.line(&format!("  {name}:"))?;
    for line in value.trim_end().lines() {
        output.line(format!("    {}", text::tame(line)).trim_end())?;
    }
    Ok(())
}

/// A read with the value as it was read.
fn told(read: &VersionRead, reader: &TaskInstanceKey, several: bool) -> String {
    let row = &read.row;
    let (name, about) = match (&row.target, &read.value) {
        (ReadTarget::Entry(key, _), Some(version)) => (key.to_string(), trace::about(version)),
        (ReadTarget::Entry(key, version), None) => {
            (key.to_string(), format!(": version {version}, of which nothing is known any more"))
        }
        (ReadTarget::Sequence(key), _) => {
            let name = format!("{}/{}/{} `{}`", key.dag_id, key.run_id, key.task_id, key.key);
            (name, ": values of all map indexes".to_owned())
        }
    };
    // What is in the same run is named without it.
    let run = format!("{}/{}/", reader.dag_id, reader.run_id);
    let name = name.strip_prefix(&run).unwrap_or(&name);
    let by = row.attempt.filter(|_| several).map_or(String::new(), |number| format!(", by attempt {number}"));
    let times = if row.count == 1 { String::new() } else { format!(", {} times", text::number(row.count)) };
    format!("  {name}{about}{by}{times}")
}

fn beyond(all: usize, output: &mut Output) -> Result<(), Stop> {
    match all.checked_sub(SHOWN) {
        Some(more) if more > 0 => {
            output.line(&format!("  and {} more; --json has up to 1,000", text::number(more as u64)))
        }
        _ => Ok(()),
    }
}

/// Why there is nothing to show: no such run, no such task, or a mapped task without a map index.
async fn not_there(door: &Door, ti: &TaskInstanceKey, empty: Option<String>) -> Fallible<Stop> {
    let run = door.run_info(&ti.dag_id, &ti.run_id).await?;
    let mut indexes = Vec::new();
    let mut last: Option<TaskInstanceKey> = None;
    loop {
        let after = last.as_ref().map(|last| (&*last.task_id, last.map_index));
        let page = door.task_instances(&ti.dag_id, &ti.run_id, after).await?;
        let Some(end) = page.last() else { break };
        last = Some(end.key.clone());
        let of_task = page.iter().filter(|info| info.key.task_id == ti.task_id);
        indexes.extend(of_task.map(|info| info.key.map_index));
    }
    let message = if run.is_none() {
        format!("no value: DAG `{}` has no run `{}`", ti.dag_id, ti.run_id)
    } else if indexes.is_empty() {
        format!("no value: run `{}` of {} has no task `{}`", ti.run_id, ti.dag_id, ti.task_id)
    } else if ti.is_mapped() {
        format!("no value: task `{}` has no map index {} in this run", ti.task_id, ti.map_index)
    } else {
        format!("no value: task `{}` is mapped, and no map index is given", ti.task_id)
    };
    let hint = match empty {
        Some(hint) => hint,
        None if run.is_none() => "`excom run list` shows those that there are".to_owned(),
        None if indexes.is_empty() => "`excom run show` without --task-id shows its tasks".to_owned(),
        None if indexes == [excom::UNMAPPED] => "it is not mapped: leave --map-index out".to_owned(),
        None => {
            let named: Vec<String> = indexes.iter().take(NAMED).map(i32::to_string).collect();
            let more = indexes.len().checked_sub(NAMED).filter(|more| *more > 0);
            let more = more.map_or(String::new(), |more| format!(" and {} more", text::number(more as u64)));
            format!("add --map-index; there are {}{more}", named.join(", "))
        }
    };
    let known = json!(ti).as_object().cloned().unwrap_or_default();
    Ok(NoValue { exit_code: 3, answer: "missing", message, hints: vec![hint], known }.into())
}
