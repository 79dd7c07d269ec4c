//! `excom run list`: runs, newest first.

use std::sync::Arc;

use clap::ArgMatches;
use excom::core::run::{RunFilter, RunState};
use serde_json::json;

use super::{Document, state, took};
use crate::context::Context;
use crate::identity;
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::text::{self, Table};

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let filter = RunFilter {
        dag_id: identity::dag(matches, context.environment()).map(Arc::from),
        state: matches.get_one::<RunState>("state").copied(),
    };
    let limit = matches.get_one::<u32>("limit").copied().unwrap_or(20);
    let (door, empty) = context.looking()?;
    let mut runs = door.runs(&filter, limit.saturating_add(1)).await?;
    let more = runs.len() > limit as usize;
    runs.truncate(limit as usize);
    if output.json() {
        let items = runs.iter().map(Document::of).collect::<Result<Vec<_>, _>>()?;
        return output.document(&json!({"items": items, "more": more}));
    }
    if runs.is_empty() {
        output.say("no runs match");
        if let Some(hint) = empty {
            output.say(&format!("  {hint}"));
        }
        return Ok(());
    }
    let mut headings = vec!["run", "state", "date", "started", "took", "version"];
    if filter.dag_id.is_none() {
        headings.insert(0, "dag");
    }
    let mut table = Table::new(headings);
    for info in &runs {
        let dag = filter.dag_id.is_none().then(|| info.run.dag_id.to_string());
        table.row(dag.into_iter().chain([
            info.run.run_id.to_string(),
            state(info).to_owned(),
            text::time(info.run.date()),
            info.started_at.map_or("-".to_owned(), text::time),
            took(info),
            info.run.version.as_deref().unwrap_or("-").to_owned(),
        ]));
    }
    for (i, line) in table.lines().enumerate() {
        let line = if i == 0 { output.styled(Style::Heading, &line) } else { line };
        output.line(&line)?;
    }
    if more {
        output.say("there are older ones: raise --limit");
    }
    Ok(())
}
