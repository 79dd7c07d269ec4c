//! `excom xcom`: one module a command.

mod get;
mod history;
mod list;
mod pull;
mod push;
mod refusals;
mod removal;
mod usage;

use clap::ArgMatches;
use excom::{Answer, Caller, EntryInfo, Error, ErrorKind, Value, XComKey};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::output::Output;
use crate::stop::Stop;

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    match matches.subcommand() {
        Some(("push", matches)) => push::run(context, matches, output).await,
        Some(("pull", matches)) => pull::run(context, matches, output).await,
        Some(("get", matches)) => get::run(context, matches, output).await,
        Some(("list", matches)) => list::run(context, matches, output).await,
        Some(("history", matches)) => history::run(context, matches, output).await,
        Some(("usage", matches)) => usage::run(context, matches, output).await,
        Some(("refusals", matches)) => refusals::run(context, matches, output).await,
        Some(("clear", matches)) => removal::clear(context, matches, output).await,
        Some(("delete", matches)) => removal::delete(context, matches, output).await,
        _ => Ok(()),
    }
}

/// A value as it stands in a document of ours: byte by byte, whatever its numbers and order.
pub(crate) fn raw(value: &Value) -> Result<Box<RawValue>, Stop> {
    RawValue::from_string(value.as_str().to_owned()).map_err(|cause| {
        let error = Error::new(ErrorKind::InvalidValue, "the value cannot be put into a JSON document");
        Stop::Error(error.because(cause).hint("pull it without --json"))
    })
}

/// Whether a secret is shown: to a task, which needs it, and to somebody who says so.
fn reveals(caller: &Caller, matches: &ArgMatches) -> bool {
    matches!(caller, Caller::Attempt(_)) || matches.get_flag("reveal")
}

/// The refusal to show a secret to somebody who did not say so.
fn concealed(key: &XComKey) -> Stop {
    let error = Error::new(ErrorKind::Forbidden, format!("{key} is a secret, and is not shown"));
    Stop::Error(error.hint("--reveal shows it; a task that pulls it needs no flag"))
}

/// An answer without a value, with the hint that the home is empty.
pub(crate) fn no_value(answer: Answer, empty: Option<String>) -> Stop {
    let stop = Stop::from(answer);
    match empty {
        Some(hint) => stop.hint(hint),
        None => stop,
    }
}

/// An entry as a document, with the time that its version tells.
fn described(info: &EntryInfo) -> Json {
    let mut document = json!(info);
    document["pushed_at"] = json!(info.pushed_at());
    document
}
