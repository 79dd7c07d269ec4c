//! `excom keys`: the secret keys, by their fingerprints.

use clap::{Arg, ArgMatches, Command};
use excom::embedded::{self, Home};
use serde_json::json;

use crate::context::{self, Context};
use crate::output::Output;
use crate::stop::Stop;

pub(crate) fn command() -> Command {
    Command::new("keys")
        .about("The secret keys that seal stored values")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("Show the fingerprints of all keys, the current one's first"))
        .subcommand(Command::new("rotate").about("Make a new key, which seals from now on").after_help(
            "What was sealed before stays readable, and running programs find the new key by themselves.\n\
                 Keys that [seal] keys names are rotated there: the new one's source goes in front.",
        ))
        .subcommand(
            Command::new("retire")
                .about("Let an old key go that seals nothing any more")
                .arg(Arg::new("id").value_name("ID").required(true).help("The key, by its fingerprint"))
                .after_help(
                    "It is refused while a stored value is sealed with the key; `excom migrate-values --reseal` \
                     seals them with the\ncurrent one. From the first time on, no process seals anything with it.",
                ),
        )
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let rotated = match matches.subcommand() {
        Some(("retire", matches)) => return retire(context, matches, output).await,
        Some(("rotate", _)) => {
            // An engine that opens knows all keys of the database, so none is left behind.
            context.engine()?.close().await?;
            Some(embedded::rotate_keys(&context.settings()?)?)
        }
        _ => None,
    };
    let engine = context.engine()?;
    let current = engine.keys().current_id();
    let mut ids = engine.keys().ids();
    ids.sort_by_key(|id| *id != current);
    if output.json() {
        output.document(&json!({"current": current, "keys": ids, "rotated": rotated.is_some()}))?;
    } else {
        for id in &ids {
            output.line(&if *id == current { format!("{id}   current") } else { id.to_string() })?;
        }
    }
    context::close(&engine, output).await;
    Ok(())
}

async fn retire(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let id = matches.get_one::<String>("id").map_or("", String::as_str);
    let (engine, settings) = (context.engine()?, context.settings()?);
    let retired = embedded::retire_key(&engine, &settings, id).await;
    context::close(&engine, output).await;
    let removed = retired?;
    if output.json() {
        return output.document(&json!({"retired": id, "removed": removed}));
    }
    if removed {
        output.line(&format!("{id}   retired, and removed from {}", Home::of(&settings).seal_key().display()))
    } else {
        let origin = settings.seal.keys.origin();
        output.line(&format!("{id}   retired; its source in [seal] keys (from {origin}) may go"))
    }
}
