//! `excom run`: DAG runs, how their tasks stand, and what one of them did.

mod list;
mod show;
mod task;

use clap::ArgMatches;
use excom::core::run::RunInfo;
use serde::Serialize;
use serde_json::Map;
use serde_json::value::RawValue;

use crate::context::Context;
use crate::output::Output;
use crate::stop::{NoValue, Stop};
use crate::text;

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    match matches.subcommand() {
        Some(("list", matches)) => list::run(context, matches, output).await,
        Some(("show", matches)) if matches.contains_id("task-id") => {
            task::run(context, matches, output).await
        }
        Some(("show", matches)) => show::run(context, matches, output).await,
        _ => Ok(()),
    }
}

/// A run as a document.
#[derive(Serialize)]
struct Document<'a> {
    dag_id: &'a str,
    run_id: &'a str,
    state: Option<&'static str>,
    logical_date: Option<jiff::Timestamp>,
    run_after: jiff::Timestamp,
    started_at: Option<jiff::Timestamp>,
    ended_at: Option<jiff::Timestamp>,
    version: Option<&'a str>,
    conf: Option<Box<RawValue>>,
}

impl<'a> Document<'a> {
    fn of(info: &'a RunInfo) -> Result<Self, Stop> {
        let run = &info.run;
        Ok(Self {
            dag_id: &run.dag_id,
            run_id: &run.run_id,
            state: info.state.map(|state| state.name()),
            logical_date: run.logical_date,
            run_after: run.run_after,
            started_at: info.started_at,
            ended_at: info.ended_at,
            version: run.version.as_deref(),
            conf: run.conf.as_ref().map(crate::xcom::raw).transpose()?,
        })
    }
}

/// Why nothing is told of a run, or of a DAG, that is not known; with the hint of an empty home.
pub(crate) fn not_known(dag_id: &str, run_id: Option<&str>, empty: Option<String>) -> NoValue {
    let mut known: Map<_, _> = [("dag_id".to_owned(), dag_id.into())].into_iter().collect();
    let message = match run_id {
        Some(run_id) => {
            known.insert("run_id".to_owned(), run_id.into());
            format!("no value: DAG `{dag_id}` has no run `{run_id}`")
        }
        None => format!("no value: no run of DAG `{dag_id}` is known"),
    };
    let hint = empty.unwrap_or_else(|| "`excom run list` shows those that there are".to_owned());
    NoValue { exit_code: 3, answer: "missing", message, hints: vec![hint], known }
}

/// A run's state; `-` for one that was never started, only pushed into.
fn state(info: &RunInfo) -> &'static str {
    info.state.map_or("-", |state| state.name())
}

/// How long a run took.
fn took(info: &RunInfo) -> String {
    info.started_at.zip(info.ended_at).map_or("-".to_owned(), |(from, to)| text::duration(from, to))
}
